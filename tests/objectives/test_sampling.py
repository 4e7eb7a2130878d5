"""Samples follow the generator's distribution; proposals equal to the original are originals."""

import pytest
import torch

from electrify.noise import row_keys
from electrify.objectives.sampling import corrupt, sample


def keys(count: int) -> torch.Tensor:
    return row_keys(7, 0, torch.arange(count))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_frequencies_are_the_softmax(temperature: float) -> None:
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, -30.0])
    drawn = sample(logits.expand(60_000, 5), keys(60_000), temperature=temperature)
    expected = (logits / temperature).softmax(-1)
    frequencies = torch.bincount(drawn, minlength=5) / 60_000
    assert (frequencies - expected).abs().max() < 0.007  # 3.5 standard deviations


def test_a_large_vocabulary_is_drawn_to_its_ends() -> None:
    drawn = sample(torch.zeros(200_000 // 50, 30_522), keys(4000))
    assert abs(drawn.double().mean().item() / 30_521 - 0.5) < 0.02
    assert drawn.min() < 200
    assert drawn.max() > 30_300


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_in_half_precision_give_valid_tokens(dtype: torch.dtype) -> None:
    logits = torch.full((1000, 50), -60_000.0, dtype=dtype)
    logits[:, 13] = 60_000.0
    assert (sample(logits, keys(1000)) == 13).all()


def test_the_original_can_be_excluded() -> None:
    logits = torch.tensor([9.0, 1.0, 0.0]).expand(500, 3)
    drawn = sample(logits, keys(500), excluded_ids=torch.zeros(500, dtype=torch.long))
    assert set(drawn.tolist()) == {1, 2}


def test_a_position_draws_the_same_in_any_company() -> None:
    logits = torch.randn(40, 100, generator=torch.Generator().manual_seed(1))
    together = sample(logits, keys(40))
    alone = torch.cat([sample(logits[i : i + 1], keys(40)[i : i + 1]) for i in range(40)])
    assert torch.equal(together, alone)


def test_no_gradient_passes_through_a_sample() -> None:
    logits = torch.zeros(3, 5, requires_grad=True)
    assert not sample(logits, keys(3)).requires_grad


def test_a_proposal_equal_to_the_original_is_not_replaced() -> None:
    result = corrupt(torch.tensor([[5, 6, 7]]), torch.tensor([1, 2]), torch.tensor([6, 9]))
    assert result.corrupted_ids.tolist() == [[5, 6, 9]]
    assert result.is_replaced.tolist() == [[False, False, True]]


def test_only_chosen_positions_change() -> None:
    ids = torch.arange(20).view(2, 10)
    result = corrupt(ids, torch.tensor([3, 14]), torch.tensor([90, 91]))
    assert result.is_replaced.flatten().nonzero().flatten().tolist() == [3, 14]
    assert torch.equal(result.corrupted_ids[~result.is_replaced], ids[~result.is_replaced])


def test_a_position_drawn_twice_gets_the_mean_of_its_proposals() -> None:
    result = corrupt(torch.tensor([[5, 6, 7]]), torch.tensor([1, 1, 2]), torch.tensor([10, 21, 7]))
    assert result.corrupted_ids.tolist() == [[5, 15, 7]]
    assert result.is_replaced.tolist() == [[False, True, False]]


def test_a_wrong_number_of_proposals_is_named() -> None:
    with pytest.raises(ValueError, match="1 proposals for 2 positions"):
        corrupt(torch.tensor([[5, 6, 7]]), torch.tensor([1, 2]), torch.tensor([6]))
