"""Drawing the generator's tokens, and putting them in.

One random number a position and the inverse of the cumulative distribution, instead of one Gumbel number for each
entry of the vocabulary. Always in float32: noise in half precision underflows to infinity.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from electrify.noise import uniform


@dataclass(frozen=True, slots=True)
class Corruption:
    """What the discriminator sees and what it should say."""

    corrupted_ids: Tensor
    """(B, T) int64."""
    is_replaced: Tensor
    """Tokens that differ from the original, (B, T) bool."""


@torch.no_grad()
def sample(logits: Tensor, keys: Tensor, *, temperature: float = 1.0, excluded_ids: Tensor | None = None) -> Tensor:
    """Draw one token for each position; no gradient passes.

    Args:
        logits: Generator's logits, (P, V), any float type.
        keys: Key of each position's random number, (P,) int64.
        temperature: Logits are divided by it.
        excluded_ids: One id a position that can not be drawn, (P,) int64.

    Returns:
        Ids, (P,) int64.
    """
    scaled = logits.float() if temperature == 1.0 else logits.float() / temperature
    if excluded_ids is not None:
        scaled = scaled.scatter(1, excluded_ids[:, None], float("-inf"))
    cumulative = scaled.softmax(-1).cumsum_(-1)  # (P, V)
    threshold = uniform(keys).float() * cumulative[:, -1]
    drawn = torch.searchsorted(cumulative, threshold[:, None]).squeeze(1)
    return drawn.clamp_(max=logits.shape[1] - 1)


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
