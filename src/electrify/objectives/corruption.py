"""Putting the generator's tokens in, and saying which ones differ."""

from dataclasses import dataclass

import torch
from torch import Tensor

from electrify.config import ObjectiveConfig
from electrify.models.heads import Generator
from electrify.objectives.rows import MaskedRows
from electrify.objectives.vocabulary import Predictions, predict_tokens

GENERATOR, SECOND = 1, 2
"""Numbers of the two networks, for `MaskedRows.shown`."""


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


def propose(
    generator: Generator, rows: MaskedRows, *, objective: ObjectiveConfig, drops: bool, with_figures: bool
) -> tuple[Predictions, Corruption]:
    """Let the generator fill the chosen positions; no gradient passes through what it draws.

    Args:
        generator: Reads the masked rows.
        rows: A micro-batch.
        objective: How it is sampled.
        drops: Whether dropout happens.
        with_figures: Whether its most likely tokens and entropy are computed.

    Returns:
        Its loss and samples, and the rows with them.
    """
    positions = rows.masking.positions
    has_dropout = objective.generator_dropout and not objective.freeze_generator
    shown = rows.shown(rows.masking.masked_ids, network=GENERATOR, drops=drops and has_dropout)
    hidden = generator.hidden_states(shown).flatten(0, 1)[positions]  # (P, H): only where masked
    predictions = predict_tokens(
        generator.vectors(hidden),
        generator.body.word_embeddings.weight,
        generator.output_bias,
        rows.original_ids,
        rows.masking.sample_keys,
        temperature=objective.temperature,
        exclude_target=objective.exclude_original,
        z_loss=objective.z_loss,
        with_figures=with_figures,
    )
    return predictions, corrupt(rows.inputs.input_ids, positions, predictions.sampled_ids)
