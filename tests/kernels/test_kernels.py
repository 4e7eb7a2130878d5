"""The compiled kernels give what plain torch gives in float32, gradients included, and drop the same elements."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from electrify import kernels
from electrify.kernels import activation, attention, dropout, library, linear, norm
from electrify.models.attention import rotate
from electrify.models.dropout import Dropout
from electrify.models.modernbert import rotation
from electrify.noise import keep_mask, row_keys

pytestmark = pytest.mark.skipif(not kernels.is_enabled(), reason="no compiler at installation, or no AVX-512 bfloat16")
few = settings(max_examples=30, deadline=None)
ROUNDING = 2**-8  # of bfloat16, relative


def assert_near(ours: Tensor, reference: Tensor, *, bound: float) -> None:
    distance = (ours.float() - reference.float()).norm() / reference.float().norm().clamp(min=1e-6)
    assert distance < bound, f"relative distance {distance:.2e}"


def compare(ours: Callable[..., Tensor], reference: Callable[..., Tensor], inputs: list[Tensor], bound: float) -> None:
    """Results and gradients of both, for the same inputs; the reference gets them in float32."""
    torch.manual_seed(1)
    copies = [one.detach().float().requires_grad_() for one in inputs]
    result, expected = ours(*inputs), reference(*copies)
    assert_near(result, expected, bound=bound)
    gradient = torch.randn_like(result)
    for mine, theirs in zip(
        torch.autograd.grad(result, inputs, gradient),
        torch.autograd.grad(expected, copies, gradient.float()),
        strict=True,
    ):
        assert_near(mine, theirs, bound=3 * bound)


def normal(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(*shape).to(dtype).requires_grad_()


@few
@given(
    rows=st.integers(1, 3),
    tokens=st.integers(1, 150),
    heads=st.integers(1, 3),
    head_size=st.sampled_from([32, 64, 96]),
    has_bias=st.booleans(),
    is_rotary=st.booleans(),
    window=st.sampled_from([None, 0, 1, 17, 64]),
    num_documents=st.sampled_from([None, 1, 3]),
    is_causal=st.sampled_from([None, (True, True, True), (True, False, True)]),
    padding=st.integers(0, 9),
    drop_prob=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_attention(
    rows: int,
    tokens: int,
    heads: int,
    head_size: int,
    has_bias: bool,
    is_rotary: bool,
    window: int | None,
    num_documents: int | None,
    is_causal: tuple[bool, ...] | None,
    padding: int,
    drop_prob: float,
) -> None:
    torch.manual_seed(0)
    turn = rotation(tokens, head_size, theta=100.0, device=torch.device("cpu")) if is_rotary else None
    keys = row_keys(1, 2, torch.arange(rows))
    causal = None if is_causal is None else torch.tensor(is_causal[:rows])
    segments = None
    if num_documents is not None:
        borders = torch.randint(0, num_documents, (rows, tokens)).sort(dim=1).values.int()
        segments = borders.masked_fill(torch.arange(tokens) >= tokens - min(padding, tokens - 1), -1)

    def ours(joint: Tensor, bias: Tensor | None = None) -> Tensor:
        return attention.attend(
            joint,
            num_heads=heads,
            bias=bias,
            rotation=turn,
            segments=segments,
            window=window,
            causal=None if causal is None else causal.byte(),
            keys=keys,
            drop_prob=drop_prob,
            site=3,
        )

    def reference(joint: Tensor, bias: Tensor | None = None) -> Tensor:
        joint = joint if bias is None else joint + bias
        query, key, value = joint.view(rows, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        allowed = torch.ones(rows, 1, tokens, tokens, dtype=torch.bool)
        if segments is not None:
            allowed &= segments[:, None, :, None] == segments[:, None, None, :]
        if window is not None:
            places = torch.arange(tokens)
            allowed &= (places[:, None] - places).abs() <= window
        if causal is not None:
            distance = torch.arange(tokens)[:, None] - torch.arange(tokens)
            reach = tokens if window is None else max(window, 1)
            allowed &= ((distance >= 0) & (distance < reach)) | ~causal[:, None, None, None]
        scores = (query @ key.mT * head_size**-0.5).masked_fill(~allowed, -torch.inf)
        with kernels.disabled():
            return (Dropout(drop_prob, 3)(scores.softmax(-1), keys) @ value).transpose(1, 2).flatten(2)

    inputs = [normal(rows, tokens, 3 * heads * head_size)]
    if has_bias:
        inputs.append(normal(3 * heads * head_size, dtype=torch.float32))
    compare(ours, reference, inputs, bound=2 * ROUNDING)


def test_attention_of_a_long_row_reads_past_no_buffer() -> None:
    torch.manual_seed(0)
    joint = normal(1, 1100, 3 * 64)
    segments = (torch.arange(1100) // 300)[None].int()
    whole = attention.attend(joint, num_heads=2, segments=segments)
    for start, end in pairwise([0, 300, 600, 900, 1100]):
        assert torch.equal(whole[:, start:end], attention.attend(joint[:, start:end], num_heads=2)), "documents apart"


@few
@given(
    rows=st.integers(1, 3),
    tokens=st.integers(1, 40),
    size=st.sampled_from([16, 64, 272]),
    drop_prob=st.sampled_from([0.0, 0.3]),
    dtype=st.sampled_from([torch.bfloat16, torch.float32]),
    has_biases=st.booleans(),
)
def test_add_norm(rows: int, tokens: int, size: int, drop_prob: float, dtype: torch.dtype, has_biases: bool) -> None:
    torch.manual_seed(0)
    keys = row_keys(1, 2, torch.arange(rows))
    place = {"keys": keys, "drop_prob": drop_prob, "site": 5}

    def ours(x: Tensor, residual: Tensor, weight: Tensor, *biases: Tensor) -> Tensor:
        bias, norm_bias = biases or (None, None)
        out, stream = norm.add_norm(x, residual, weight, bias=bias, norm_bias=norm_bias, epsilon=1e-5, **place)
        assert stream.dtype == dtype
        return torch.cat([out.float(), 0.5 * stream.float()])

    def reference(x: Tensor, residual: Tensor, weight: Tensor, *biases: Tensor) -> Tensor:
        bias, norm_bias = biases or (0, None)
        with kernels.disabled():
            stream = residual + Dropout(drop_prob, 5)(x + bias, keys)
        return torch.cat([F.layer_norm(stream, (size,), weight, norm_bias, 1e-5), 0.5 * stream])

    inputs = [normal(rows, tokens, size), normal(rows, tokens, size, dtype=dtype), normal(size, dtype=torch.float32)]
    if has_biases:
        inputs += [normal(size, dtype=torch.float32), normal(size, dtype=torch.float32)]
    compare(ours, reference, inputs, bound=ROUNDING)


def test_gelu() -> None:
    torch.manual_seed(0)
    inputs = [normal(3, 50, 64), normal(64, dtype=torch.float32)]
    compare(activation.gelu, lambda x, bias: F.gelu(x + bias), inputs, bound=ROUNDING)
    far = torch.linspace(-40, 40, 160).view(1, 160).bfloat16()
    assert_near(activation.gelu(far, torch.zeros(160)), F.gelu(far.float()), bound=ROUNDING)


@pytest.mark.parametrize("drop_prob", [0.0, 0.4])
def test_gated_gelu(drop_prob: float) -> None:
    torch.manual_seed(0)
    keys = row_keys(1, 2, torch.arange(3))

    def reference(x: Tensor) -> Tensor:
        values, gate = x.chunk(2, dim=-1)
        with kernels.disabled():
            return Dropout(drop_prob, 2)(F.gelu(values) * gate, keys)

    compare(
        lambda x: activation.gated_gelu(x, keys=keys, drop_prob=drop_prob, site=2),
        reference,
        [normal(3, 17, 96)],
        bound=ROUNDING,
    )


def test_no_tokens_give_no_gradient() -> None:
    """A batch in which nothing may be masked: the generator's head gets no positions."""
    x, weight, bias = normal(0, 48), normal(64, 48, dtype=torch.float32), normal(64, dtype=torch.float32)
    out = activation.gelu(linear.linear(x, weight), bias)
    assert out.shape == (0, 64)
    gradients = torch.autograd.grad(out.float().sum(), [x, weight, bias])
    assert [one.shape for one in gradients] == [x.shape, weight.shape, bias.shape]
    assert not any(one.any() for one in gradients)


@few
@given(tokens=st.integers(1, 600), outs=st.sampled_from([16, 64, 160]), ins=st.sampled_from([16, 48, 208]))
def test_linear(tokens: int, outs: int, ins: int) -> None:
    torch.manual_seed(0)
    x, weight = normal(tokens, ins), normal(outs, ins, dtype=torch.float32)
    compare(linear.linear, lambda x, weight: x @ weight.mT, [x, weight], bound=ROUNDING)
    gradient = torch.randn(tokens, outs).bfloat16()
    (ours,) = torch.autograd.grad(linear.linear(x, weight), weight, gradient)
    assert_near(ours, gradient.double().mT @ x.double(), bound=1e-5)  # float32: nothing is rounded to bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tokens_product_does_not_depend_on_the_others(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(77, 96).bfloat16(), torch.randn(208, 96, dtype=dtype)
    together = linear.linear(x, weight)
    for count in (1, 5, 6, 31):
        assert torch.equal(linear.linear(x[:count], weight), together[:count])
    assert_near(together, x.float() @ weight.bfloat16().float().T, bound=ROUNDING)


def test_float32_buffers_do_not_follow_torchs_default_type() -> None:
    """Shorter numbers would be written past their end."""
    torch.manual_seed(0)
    matrix, vector = normal(64, 64, dtype=torch.float32), normal(64, dtype=torch.float32)
    inputs = [normal(3, 20, 192), normal(3, 20, 64), matrix, vector]

    def block(joint: Tensor, residual: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        mixed = linear.linear(attention.attend(joint, num_heads=2), weight)
        return norm.add_norm(mixed, residual, scale, epsilon=1e-5)[0]

    def step() -> list[Tensor]:
        result = block(*inputs)
        return [result, *torch.autograd.grad(result.float().square().sum(), inputs)]

    expected = step()
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = step()
    finally:
        torch.set_default_dtype(torch.float32)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 31, 48), (5, 16)])
def test_dropout_is_the_one_of_noise(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = torch.ones(shape, dtype=dtype)
    keys = row_keys(3, 4, torch.arange(shape[0]))
    kept = dropout.dropout(x, keys, drop_prob=0.3, site=7) > 0
    assert torch.equal(kept, keep_mask(keys, x.shape, drop_prob=0.3, site=7))
    assert 0 < kept.float().mean() < 1


def test_no_kernel_serves_where_it_can_not() -> None:
    x = torch.zeros(2, 2)
    assert not kernels.serve(x), "float32"
    with torch.autocast("cpu", torch.bfloat16):
        assert kernels.serve(x)
        with kernels.disabled():
            assert not kernels.serve(x)
    assert not kernels.serve(torch.zeros(1, device="meta", dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="not contiguous"):
        library.pointer(torch.zeros(4, 4).T)


def test_all_heads_that_fit_drop_what_plain_torch_drops_and_more_do_not_fit() -> None:
    heads, tokens, size = 64, 4, 32
    assert attention.fits(size, heads)
    assert not attention.fits(size, heads + 1)
    keys = row_keys(1, 1, torch.arange(1))
    joint = torch.zeros(1, tokens, 3, heads, size)
    joint[0, range(tokens), 2, :, range(tokens)] = 1.0  # the value of token t is the t-th unit vector
    mixed = attention.attend(joint.view(1, tokens, -1).bfloat16(), num_heads=heads, keys=keys, drop_prob=0.5, site=0)
    is_kept = mixed.view(1, tokens, heads, size)[..., :tokens].permute(0, 2, 1, 3) > 0
    assert torch.equal(is_kept, keep_mask(keys, torch.Size((1, heads, tokens, tokens)), drop_prob=0.5, site=0))
