"""The compiled pass over the vocabulary gives what the plain one gives, and draws from the same distribution."""

import pytest
import torch
from torch import Tensor

from electrify import kernels
from electrify.noise import row_keys
from electrify.objectives import vocabulary_pass
from electrify.objectives.vocabulary import Predictions, predict_tokens

pytestmark = pytest.mark.skipif(not kernels.is_enabled(), reason="no compiler at installation, or no AVX-512 bfloat16")
Given = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def make(num_positions: int, size: int, vocab_size: int) -> Given:
    torch.manual_seed(0)
    vectors = torch.randn(num_positions, size).requires_grad_()
    table = (0.5 * torch.randn(vocab_size, size)).requires_grad_()
    bias = torch.randn(vocab_size).requires_grad_()
    targets = torch.randint(0, vocab_size, (num_positions,))
    return vectors, table, bias, targets, row_keys(0, 0, torch.arange(num_positions))


def both_ways(given: Given, **settings: object) -> tuple[Predictions, list[Tensor], Predictions, list[Tensor]]:
    found: list[object] = []
    for is_plain in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            if is_plain:
                with kernels.disabled():
                    out = predict_tokens(*given, **settings)
            else:
                out = predict_tokens(*given, **settings)
        found += [out, torch.autograd.grad(out.loss, given[:3])]
    return found[0], found[1], found[2], found[3]


@pytest.mark.parametrize(("positions", "vocab_size"), [(1, 1), (7, 5), (33, 500), (5, 30522), (40, 1024)])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5}, {"exclude_target": True, "temperature": 2.0}])
def test_equal_to_the_plain_pass(
    positions: int, vocab_size: int, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    if vocab_size == 1 and settings.get("exclude_target"):
        pytest.skip("nothing is left to draw")
    monkeypatch.setattr(vocabulary_pass, "_NATIVE_BLOCK_ELEMENTS", 10 * vocab_size)  # several blocks
    given = make(positions, 16, vocab_size)
    ours, gradients, plain, expected = both_ways(given, with_figures=True, **settings)
    torch.testing.assert_close(ours.loss, plain.loss, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(ours.entropy, plain.entropy, rtol=1e-4, atol=1e-4)
    assert torch.equal(ours.best_ids, plain.best_ids)
    assert (ours.sampled_ids != plain.sampled_ids).sum() <= 1, "a threshold may fall on a rounding"
    for mine, theirs in zip(gradients, expected, strict=True):
        assert (mine - theirs).norm() <= 2**-8 * theirs.norm() + 1e-6, "of bfloat16, both"


def test_sums_do_not_follow_torchs_default_type() -> None:
    """Shorter numbers would be written past their end."""
    given = make(33, 16, 500)
    out, gradients, _, _ = both_ways(given)
    torch.set_default_dtype(torch.bfloat16)
    try:
        again, others, _, _ = both_ways(given)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(out.loss, again.loss)
    assert all(
        mine.dtype == torch.float32 and torch.equal(mine, other) for mine, other in zip(gradients, others, strict=True)
    )


def test_samples_follow_the_distribution() -> None:
    count, vocab_size = 40_000, 40
    torch.manual_seed(0)
    vectors = torch.randn(1, 16).expand(count, 16).contiguous()
    table, bias = torch.randn(vocab_size, 16), torch.zeros(vocab_size)
    targets, keys = torch.zeros(count, dtype=torch.int64), row_keys(5, 0, torch.arange(count))
    with torch.autocast("cpu", torch.bfloat16):
        drawn = predict_tokens(vectors, table, bias, targets, keys).sampled_ids
    shares = torch.bincount(drawn, minlength=vocab_size) / count
    probabilities = (vectors[0].bfloat16() @ table.bfloat16().T).float().softmax(-1)
    error = ((shares - probabilities) / (probabilities * (1 - probabilities) / count).sqrt().clamp(min=1e-4)).abs()
    assert error.max() < 4.5, "in standard deviations"


def test_the_original_is_never_drawn_if_excluded() -> None:
    vectors, table, bias, _, keys = make(300, 8, 20)
    with torch.autocast("cpu", torch.bfloat16):
        likely = (vectors.bfloat16() @ table.bfloat16().T + bias).argmax(-1)
        drawn = predict_tokens(vectors, table, bias, likely, keys, exclude_target=True).sampled_ids
    assert not (drawn == likely).any()


@pytest.mark.parametrize("temperature", [1.0, 0.2, 0.05])
def test_an_excluded_original_far_above_the_others_leaves_their_shares(temperature: float) -> None:
    positions, vocab_size = 300, 100
    vectors, table, bias, targets, keys = make(positions, 16, vocab_size)
    with torch.no_grad():
        vectors[:], table[:, 0], bias[:] = torch.eye(16)[0], 0.0, 0.0
        bias[50] = 120.0
    given = vectors, table, bias, torch.full_like(targets, 50), keys
    ours, _, plain, _ = both_ways(given, temperature=temperature, exclude_target=True)
    assert (ours.sampled_ids != plain.sampled_ids).sum() <= 1, "a threshold may fall on a rounding"
    assert not (ours.sampled_ids == 50).any()
    assert ours.sampled_ids.unique().numel() > 80, "of 99 equally likely tokens"
