"""The one pass over the vocabulary equals the plain computation; its samples follow the generator's distribution."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.noise import row_keys
from electrify.objectives import vocabulary_pass
from electrify.objectives.vocabulary import Predictions, predict_tokens, score_copies, score_tokens


def keys(count: int) -> Tensor:
    return row_keys(7, 0, torch.arange(count))


def predict(logits: Tensor, *, targets: Tensor | None = None, **settings: object) -> Predictions:
    """Return predictions for given logits, (P, V): vectors are unit vectors' weights of a table of columns."""
    targets = torch.zeros(len(logits), dtype=torch.long) if targets is None else targets
    table = torch.eye(logits.shape[1], dtype=logits.dtype)
    bias = torch.zeros(logits.shape[1], dtype=logits.dtype)
    return predict_tokens(logits, table, bias, targets, keys(len(logits)), **settings)


def make(num_positions: int = 37, size: int = 8, vocab_size: int = 50) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(num_positions, size, generator=generator).requires_grad_()
    table = torch.randn(vocab_size, size, generator=generator).requires_grad_()
    bias = torch.randn(vocab_size, generator=generator).requires_grad_()
    return vectors, table, bias, torch.randint(0, vocab_size, (num_positions,), generator=generator)


@pytest.mark.parametrize("block_elements", [1, 150, 1 << 22])
def test_loss_and_gradients_equal_cross_entropy(block_elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_pass, "_BLOCK_ELEMENTS", block_elements)
    vectors, table, bias, targets = make()
    (3.0 * predict_tokens(vectors, table, bias, targets, keys(37)).loss).backward()
    ours = [tensor.grad.clone() for tensor in (vectors, table, bias)]
    for tensor in (vectors, table, bias):
        tensor.grad = None
    loss = F.cross_entropy(F.linear(vectors, table, bias), targets, reduction="sum")
    (3.0 * loss).backward()
    torch.testing.assert_close(predict_tokens(vectors, table, bias, targets, keys(37)).loss, loss)
    for mine, tensor in zip(ours, (vectors, table, bias), strict=True):
        torch.testing.assert_close(mine, tensor.grad, rtol=1e-5, atol=1e-5)


def test_bf16_stays_near_float32() -> None:
    vectors, table, bias, targets = make(200, 64, 1000)
    plain = predict_tokens(vectors, table, bias, targets, keys(200))
    plain.loss.backward()
    expected = table.grad.clone()
    table.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        halved = predict_tokens(vectors, table, bias, targets, keys(200))
    halved.loss.backward()
    torch.testing.assert_close(halved.loss, plain.loss, rtol=2e-3, atol=0.0)
    assert (table.grad - expected).norm() / expected.norm() < 0.02


def test_no_gradient_is_computed_when_none_is_wanted() -> None:
    vectors, table, bias, targets = make()
    with torch.no_grad():
        assert not predict_tokens(vectors, table, bias, targets, keys(37)).loss.requires_grad


def test_best_ids_and_entropy() -> None:
    vectors, table, bias, targets = make()
    result = predict_tokens(vectors, table, bias, targets, keys(37), with_figures=True)
    logits = F.linear(vectors, table, bias).detach()
    assert torch.equal(result.best_ids, logits.argmax(-1))
    torch.testing.assert_close(result.entropy, torch.distributions.Categorical(logits=logits).entropy())


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_frequencies_are_the_softmax(temperature: float) -> None:
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, -30.0])
    drawn = predict(logits.expand(60_000, 5), temperature=temperature).sampled_ids
    frequencies = torch.bincount(drawn, minlength=5) / 60_000
    assert (frequencies - (logits / temperature).softmax(-1)).abs().max() < 0.007  # 3.5 standard deviations


def test_a_large_vocabulary_is_drawn_to_its_ends() -> None:
    drawn = predict_tokens(
        torch.zeros(4000, 1), torch.zeros(30_522, 1), torch.zeros(30_522), torch.zeros(4000).long(), keys(4000)
    ).sampled_ids
    assert abs(drawn.double().mean().item() / 30_521 - 0.5) < 0.02
    assert drawn.min() < 200
    assert drawn.max() > 30_300


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_in_half_precision_give_valid_tokens(dtype: torch.dtype) -> None:
    logits = torch.full((1000, 50), -60_000.0, dtype=dtype)
    logits[:, 13] = 60_000.0
    result = predict(logits)
    assert (result.sampled_ids == 13).all()
    assert torch.isfinite(result.loss)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_original_can_be_excluded(temperature: float) -> None:
    logits = torch.tensor([9.0, 1.0, 0.0]).expand(500, 3)
    result = predict(logits, exclude_target=True, temperature=temperature)
    assert set(result.sampled_ids.tolist()) == {1, 2}
    torch.testing.assert_close(result.loss, predict(logits).loss)  # the loss is that of the whole distribution


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_an_excluded_original_far_above_the_others_leaves_their_shares(temperature: float) -> None:
    logits = torch.tensor([120.0, 0.0, 0.0, 0.0]).expand(600, 4)
    shares = torch.bincount(predict(logits, exclude_target=True, temperature=temperature).sampled_ids) / 600
    torch.testing.assert_close(shares, torch.tensor([0.0, 1.0, 1.0, 1.0]) / 3, atol=0.06, rtol=0.0)


def test_a_position_draws_the_same_in_any_company() -> None:
    logits = torch.randn(40, 100, generator=torch.Generator().manual_seed(1))
    together = predict(logits).sampled_ids
    table, bias, target = torch.eye(100), torch.zeros(100), torch.zeros(1).long()
    alone = [predict_tokens(logits[i : i + 1], table, bias, target, keys(40)[i : i + 1]).sampled_ids for i in range(40)]
    assert torch.equal(together, torch.cat(alone))


def test_samples_carry_no_gradient() -> None:
    vectors, table, bias, targets = make()
    assert not predict_tokens(vectors, table, bias, targets, keys(37)).sampled_ids.requires_grad


def test_scores_are_predictions_without_samples() -> None:
    vectors, table, bias, targets = make()
    scores, predictions = (
        score_tokens(vectors, table, bias, targets, with_figures=True),
        predict_tokens(vectors, table, bias, targets, keys(37), with_figures=True),
    )
    assert torch.equal(scores.loss, predictions.loss)
    assert torch.equal(scores.best_ids, predictions.best_ids)
    torch.testing.assert_close(scores.entropy, predictions.entropy)


@pytest.mark.parametrize("block_elements", [150, 1 << 22])
def test_copies_equal_the_plain_mixture(block_elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_pass, "_BLOCK_ELEMENTS", block_elements)
    tensors = make()
    targets, generator = tensors[3], torch.Generator().manual_seed(1)
    gate = torch.randn(37, generator=generator).requires_grad_()
    is_same = torch.rand(37, generator=generator) < 0.7
    learned = (*tensors[:3], gate)
    ours = score_copies(*tensors, gate=gate, is_same=is_same)
    mine = torch.autograd.grad(3.0 * ours.loss, learned)
    copy = gate.sigmoid()
    drawn = F.linear(tensors[0], tensors[1], tensors[2]).softmax(-1).gather(1, targets[:, None]).squeeze(1)
    loss = -(copy * is_same + (1 - copy) * drawn).log().sum()
    torch.testing.assert_close(ours.loss, loss)
    for one, other in zip(mine, torch.autograd.grad(3.0 * loss, learned), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(score_copies(*tensors, gate=gate, is_same=is_same).loss, loss)


def test_sure_gates_give_finite_losses() -> None:
    vectors, table, bias, targets = make(2)
    gate = torch.tensor([200.0, -200.0], requires_grad=True)
    for is_same in ([True, True], [False, False], [True, False]):
        loss = score_copies(vectors, table, bias, targets, gate=gate, is_same=torch.tensor(is_same)).loss
        assert all(torch.isfinite(one).all() for one in (loss, *torch.autograd.grad(loss, (vectors, table, gate))))


def test_copies_in_bf16_stay_near_float32() -> None:
    vectors, table, bias, targets = make(200, 64, 1000)
    gate = torch.zeros(200, requires_grad=True)
    is_same = torch.arange(200) % 4 > 0
    learned = (vectors, table, bias, gate)

    def work() -> tuple[Tensor, ...]:
        scores = score_copies(vectors, table, bias, targets, gate=gate, is_same=is_same)
        return scores.loss, *torch.autograd.grad(scores.loss, learned)

    exact = work()
    with torch.autocast("cpu", torch.bfloat16):
        halved = work()
    for one, other in zip(halved, exact, strict=True):
        assert (one - other).norm() / other.norm() < 0.02


def penalised(vectors: Tensor, table: Tensor, bias: Tensor, targets: Tensor, z_loss: float) -> Tensor:
    logits = F.linear(vectors, table, bias)
    return F.cross_entropy(logits, targets, reduction="sum") + z_loss * logits.logsumexp(-1).square().sum()


@pytest.mark.parametrize("block_elements", [1, 150, 1 << 22])
def test_penalty_on_the_denominator_has_the_gradient_of_autograd(
    block_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary_pass, "_BLOCK_ELEMENTS", block_elements)
    tensors = make()
    loss = penalised(*tensors, 0.3)
    expected = torch.autograd.grad(3.0 * loss, tensors[:3])
    for scores in (score_tokens(*tensors, z_loss=0.3), predict_tokens(*tensors, keys(37), z_loss=0.3)):
        torch.testing.assert_close(scores.loss, loss)
        for mine, theirs in zip(torch.autograd.grad(3.0 * scores.loss, tensors[:3]), expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-5)
        torch.testing.assert_close(scores.cross_entropy, score_tokens(*tensors).loss.detach())  # as without a penalty
    with torch.no_grad():
        torch.testing.assert_close(score_tokens(*tensors, z_loss=0.3).loss, loss)


def test_small_penalty_is_not_rounded_away_in_bf16() -> None:
    tensors = make(200, 64, 1000)

    def penalty(z_loss: float) -> list[Tensor]:
        """What a penalty adds to the gradients."""
        with torch.autocast("cpu", torch.bfloat16):
            losses = [predict_tokens(*tensors, keys(200), z_loss=one).loss for one in (z_loss, 0.0)]
        found = [torch.autograd.grad(loss, tensors[:3]) for loss in losses]
        return [one - other for one, other in zip(*found, strict=True)]

    logits = F.linear(*tensors[:3])
    expected = torch.autograd.grad(1e-4 * logits.logsumexp(-1).square().sum(), tensors[:3])
    for mine, theirs in zip(penalty(1e-4), expected, strict=True):
        assert (mine - theirs).norm() / theirs.norm() < 0.05
