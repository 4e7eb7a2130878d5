from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.models import attention
from electrify.models.attention import Mask, attend, attention_mask, score_dtype
from electrify.models.dropout import Dropout
from electrify.models.inputs import Inputs
from electrify.noise import keep_mask, row_keys


def query_key_value(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 10, 8, generator=generator).to(dtype).requires_grad_() for _ in range(3)]


def by_hand(query, key, value, bias=None, kept=None):
    scores = torch.einsum("baqd,bakd->baqk", query, key) / 8**0.5
    probabilities = (scores if bias is None else scores + bias).softmax(-1)
    if kept is not None:
        probabilities = probabilities * kept / 0.75
    return torch.einsum("baqk,bakd->baqd", probabilities, value)


def padding_bias(dtype=torch.float32):
    mask = torch.arange(10) < torch.tensor([[10], [6]])
    return Inputs(torch.ones(2, 10, dtype=torch.int64), mask).attention_bias(dtype)


@pytest.mark.parametrize("bias", [None, padding_bias()], ids=["free", "padded"])
def test_float32_equals_the_formula_in_values_and_gradients(bias):
    inputs = query_key_value()
    out = attend(*inputs, mask=Mask(is_native=False, bias=bias), dropout=Dropout(0.25, 0), keys=None)
    expected = by_hand(*inputs, bias)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((out * weights).sum(), inputs)
    theirs = torch.autograd.grad((expected * weights).sum(), inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("has_bias", [False, True])
def test_bfloat16_on_the_cpu_equals_float32_within_its_digits(has_bias):
    inputs = query_key_value(torch.bfloat16)
    bias = padding_bias(torch.bfloat16) if has_bias else None
    out = attend(*inputs, mask=Mask(is_native=False, bias=bias), dropout=Dropout(0.0, 0), keys=None)
    exact = by_hand(*[x.float() for x in inputs], None if bias is None else padding_bias())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=0.02, atol=0.02)


def test_dropout_acts_on_the_probabilities_and_follows_the_keys():
    inputs, dropout, keys = query_key_value(), Dropout(0.25, site=1), row_keys(0, 0, torch.arange(2))
    kept = keep_mask(keys, torch.Size([2, 3, 10, 10]), drop_prob=0.25, site=1)
    out = attend(*inputs, mask=Mask(is_native=False, bias=padding_bias()), dropout=dropout, keys=keys)
    torch.testing.assert_close(out, by_hand(*inputs, padding_bias(), kept), rtol=1e-5, atol=1e-6)


def test_scores_have_the_type_of_autocast_if_it_is_on():
    x = torch.ones(1)
    assert score_dtype(x) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert score_dtype(x) == torch.bfloat16


def reference_varlen(
    query: Tensor, key: Tensor, value: Tensor, borders: Tensor, _: Tensor, *__: int, window_size: tuple[int, int]
) -> Tensor:
    """What the GPU's kernel computes: attention within each run, (tokens, A, D)."""
    parts = []
    for start, end in pairwise(borders.tolist()):
        some = [one[start:end].transpose(0, 1) for one in (query, key, value)]
        places = torch.arange(end - start)
        near = (places[:, None] - places).abs() <= window_size[0] if window_size[0] >= 0 else None
        parts.append(F.scaled_dot_product_attention(*some, attn_mask=near).transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("window", [None, 3])
def test_runs_of_the_variable_length_kernel_are_those_of_the_mask(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(2, 3, 12, 8) for _ in range(3)]
    documents = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2], [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]])
    real = torch.arange(12) < torch.tensor([12, 9])[:, None]
    inputs, hidden = Inputs(documents, real, None, documents), torch.zeros(1)
    settings = {"num_heads": 3, "head_size": 8, "drop_prob": 0.1, "window": window}
    nothing = {"dropout": Dropout(0.1, 0), "keys": None}
    plain = attend(*parts, mask=attention_mask(inputs, hidden, **settings), **nothing)
    monkeypatch.setattr(attention, "_has_varlen", lambda x: True)
    monkeypatch.setattr(attention, "_varlen_kernel", lambda: reference_varlen)
    mask = attention_mask(inputs, hidden, **settings)
    assert mask.borders is not None
    assert mask.borders.tolist() == [0, 5, 8, 12, 15, 21, 24]
    out = attend(*parts, mask=mask, **nothing)
    torch.testing.assert_close(out.transpose(1, 2)[real], plain.transpose(1, 2)[real])
    dropped = attention_mask(Inputs(documents, real, None, documents, torch.zeros(2).long()), hidden, **settings)
    assert dropped.borders is None, "it draws its dropout elsewhere"
