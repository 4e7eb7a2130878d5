"""Putting the generator's tokens in, and saying which ones differ."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Corruption:
    """What the discriminator sees and what it should say."""

    corrupted_ids: Tensor
    """(B, T) int64."""
    is_replaced: Tensor
    """Tokens that differ from the original, (B, T) bool."""


def corrupt(input_ids: Tensor, positions: Tensor, proposed_ids: Tensor) -> Corruption:
    """Put the generator's proposals in place of the chosen tokens.

    A proposal equal to the original counts as original, not as replaced. A position that was drawn more than once gets
    the mean of its proposals, rounded down: what the original's `scatter_update` does.

    Args:
        input_ids: Original ids, (B, T) int64.
        positions: Indices into B·T, (P,) int64.
        proposed_ids: One proposal a position, (P,) int64.

    Raises:
        ValueError: If there is not one proposal a position.
    """
    if proposed_ids.shape != positions.shape:
        raise ValueError(f"{proposed_ids.numel()} proposals for {positions.numel()} positions")
    flat = input_ids.flatten()
    times_drawn = torch.zeros_like(flat).index_add_(0, positions, torch.ones_like(positions))
    sums = torch.zeros_like(flat).index_add_(0, positions, proposed_ids)
    corrupted_ids = torch.where(times_drawn > 0, sums // times_drawn.clamp(min=1), flat).view_as(input_ids)
    return Corruption(corrupted_ids, corrupted_ids != input_ids)
