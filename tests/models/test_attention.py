import pytest
import torch

from electrify.models.attention import attend, score_dtype
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
    out = attend(*inputs, bias=bias, dropout=Dropout(0.25, 0), keys=None)
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
    out = attend(*inputs, bias=bias, dropout=Dropout(0.0, 0), keys=None)
    exact = by_hand(*[x.float() for x in inputs], None if bias is None else padding_bias())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=0.02, atol=0.02)


def test_dropout_acts_on_the_probabilities_and_follows_the_keys():
    inputs, dropout, keys = query_key_value(), Dropout(0.25, site=1), row_keys(0, 0, torch.arange(2))
    kept = keep_mask(keys, torch.Size([2, 3, 10, 10]), drop_prob=0.25, site=1)
    out = attend(*inputs, bias=padding_bias(), dropout=dropout, keys=keys)
    torch.testing.assert_close(out, by_hand(*inputs, padding_bias(), kept), rtol=1e-5, atol=1e-6)


def test_scores_have_the_type_of_autocast_if_it_is_on():
    x = torch.ones(1)
    assert score_dtype(x) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert score_dtype(x) == torch.bfloat16
