"""Proposals are put in where they belong; those equal to the original are originals."""

import pytest
import torch

from electrify.objectives.corruption import corrupt


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
