"""Which tokens have to be filled in, and what is shown there.

Source: Clark et al. 2020 (ELECTRA), section 3.1 and appendix A: 85 % of the chosen tokens are shown as [MASK], 15 % are
kept, none are random. BERT (Devlin et al. 2019, appendix A.1) has 80 % [MASK], 10 % random, 10 % kept; a random token
may be any of the vocabulary, the original too. The number of chosen tokens is exact in each row, positions are drawn
without replacement; ELECTRA's code draws with replacement, which `draw="with_replacement"` repeats. Words and spans are
drawn by `electrify.objectives.units`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from electrify.config import MaskingConfig
from electrify.noise import DRAWS, MASKED_POSITIONS, RANDOM_TOKENS, SAMPLES, SHOWN_AS_MASK, fold, uniform
from electrify.objectives.units import draw_units


@dataclass(frozen=True, slots=True)
class Masking:
    """What a network is shown and where it has to predict."""

    masked_ids: Tensor
    """Ids with most chosen tokens replaced by [MASK] or a random token, (B, T) int64."""
    positions: Tensor
    """Chosen positions in row-major order as indices into B·T, (P,) int64; repeats only when drawn with replacement."""
    sample_keys: Tensor
    """Key of the random number with which each position is sampled, (P,) int64."""


def find_candidates(input_ids: Tensor, special_ids: Tensor) -> Tensor:
    """Return which tokens may be chosen: all but special tokens and padding, (B, T) bool."""
    return ~torch.isin(input_ids, special_ids)


def count_choices(is_candidate: Tensor, num_tokens: Tensor, *, config: MaskingConfig) -> Tensor:
    """Return how many positions each row gives, (B,) int64.

    At least one where there is a candidate, never more distinct ones than there are candidates.

    Args:
        is_candidate: Tokens that may be chosen, (B, T) bool.
        num_tokens: Real tokens in each row, special ones included, (B,) int64.
        config: The share and what it is taken of.
    """
    num_candidates = is_candidate.sum(1)
    base = num_candidates if config.share_of == "candidates" else num_tokens
    wanted = torch.round(config.mask_prob * base.double()).long().clamp(min=1)
    if config.draw == "distinct":
        return torch.minimum(wanted, num_candidates)
    return torch.where(num_candidates > 0, wanted, 0)


def draw_distinct(
    is_candidate: Tensor, counts: Tensor, keys: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw positions without replacement.

    With weights, each draw takes a position in proportion to its weight among those that are left: every position gets
    an exponential time with its weight as rate, and the earliest are taken (Efraimidis and Spirakis 2006).

    Args:
        is_candidate: (B, T) bool.
        counts: How many to draw in each row, (B,) int64.
        keys: One key a row, (B,) int64.
        weights: Above 0, (B, T); None means all alike.

    Returns:
        Rows and columns of the positions in row-major order, each (P,) int64.
    """
    columns = torch.arange(is_candidate.shape[1], device=keys.device)
    scores = uniform(fold(fold(keys, MASKED_POSITIONS)[:, None], columns))  # (B, T), in (0, 1)
    if weights is not None:
        scores = -scores.log() / weights
    order = scores.masked_fill(~is_candidate, torch.inf).argsort(dim=1)  # candidates first, shuffled
    rank = torch.empty_like(order).scatter_(1, order, columns.expand_as(order))
    rows, chosen = torch.nonzero(rank < counts[:, None], as_tuple=True)
    return rows, chosen


def draw_with_replacement(is_candidate: Tensor, counts: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Draw positions with replacement, as the original's `tf.random.categorical` does; see `draw_distinct`."""
    most = int(counts.max()) if counts.numel() else 0
    draws = torch.arange(most, device=keys.device)
    shares = uniform(fold(fold(keys, MASKED_POSITIONS)[:, None], draws))  # (B, most)
    nth = (shares * is_candidate.sum(1, keepdim=True)).long()
    candidates_first = (~is_candidate).int().argsort(dim=1, stable=True)
    rows, slots = torch.nonzero(draws < counts[:, None], as_tuple=True)
    return rows, candidates_first[rows, nth[rows, slots]]


def mask(
    input_ids: Tensor,
    num_tokens: Tensor,
    keys: Tensor,
    *,
    special_ids: Tensor,
    mask_id: int,
    vocab_size: int,
    config: MaskingConfig,
    continues: Tensor | None = None,
    weights: Tensor | None = None,
) -> Masking:
    """Choose positions and hide most of their tokens.

    Args:
        input_ids: Original ids, (B, T) int64.
        num_tokens: Real tokens in each row, (B,) int64.
        keys: One key a row, (B,) int64.
        special_ids: Ids that are never chosen, padding among them, (S,) int64.
        mask_id: Id of [MASK].
        vocab_size: V; random tokens are drawn from all of it.
        config: Shares and the way of drawing.
        continues: Tokens that continue a word, (B, T) bool; only words and spans need it.
        weights: How much each token is preferred, (B, T), above 0; single tokens only, drawn without replacement.
    """
    is_candidate = find_candidates(input_ids, special_ids)
    counts = count_choices(is_candidate, num_tokens, config=config)
    if config.unit == "token" and config.draw == "distinct":
        rows, columns = draw_distinct(is_candidate, counts, keys, weights)
    elif config.unit == "token":
        rows, columns = draw_with_replacement(is_candidate, counts, keys)
    else:
        assert continues is not None
        rows, columns = draw_units(is_candidate, counts, keys, continues=continues, config=config)
    positions = rows * input_ids.shape[1] + columns
    first_of_row = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    slots = torch.arange(len(rows), device=rows.device) - first_of_row  # number of the draw within its row
    draw_keys = fold(fold(keys, DRAWS)[rows], slots)
    shares = uniform(fold(draw_keys, SHOWN_AS_MASK))
    masked_ids = input_ids.flatten().index_fill(0, positions[shares < config.mask_token_prob], mask_id)
    if config.random_token_prob > 0:
        is_random = (shares >= config.mask_token_prob) & (shares < config.mask_token_prob + config.random_token_prob)
        # Keyed by the place and not by the draw: a position drawn twice gets one token.
        random_ids = (uniform(fold(fold(keys[rows], RANDOM_TOKENS), columns)) * vocab_size).long()
        masked_ids = masked_ids.index_put((positions[is_random],), random_ids[is_random])
    masked_ids = masked_ids.view_as(input_ids)
    return Masking(masked_ids, positions, fold(draw_keys, SAMPLES))
