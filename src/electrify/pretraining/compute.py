"""How much a run computes: operations a row from its config, and the length of a run that a budget pays for.

What is counted is what `models.operations` counts, the matrix products that the objective can not do without, forward
and backward. So a row has a price that depends on sizes, kind and lengths, and on no machine. Frozen generators have no
backward pass; the embedding of ids, norms, sampling and the optimizer are not counted. While rows are cut into shorter
ones (`schedule.length_start`), they cost what their pieces cost.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from electrify.config import MaskingConfig, PretrainConfig
from electrify.data.cutting import piece_lengths
from electrify.data.shards import ShardFolder
from electrify.data.tokenizer import Tokenizer
from electrify.models.build import generator_config
from electrify.models.heads import BodyConfig
from electrify.models.operations import (
    body_operations,
    judging_operations,
    t5_decoder_operations,
    t5_encoder_operations,
    token_operations,
    vector_operations,
    vocabulary_operations,
)
from electrify.models.t5_config import T5Config
from electrify.pretraining.growth import BatchGrowth, LengthGrowth
from electrify.pretraining.networks import SENTINELS, encoder_config, t5_config

_BACKWARD = 2  # twice the forward pass
_MOST_ROWS_READ = 1024
_MOST_STEPS = 10**9


@dataclass(frozen=True, slots=True)
class Price:
    """What a row costs a run, on average over the rows."""

    tokens: float
    """Real tokens, special ones included."""
    operations: float
    """Forward and backward."""


@dataclass(frozen=True, slots=True)
class RowCost:
    """What the rows of a shard folder cost a run, step by step."""

    whole: Price
    """Of rows that are not cut."""
    stages: tuple[tuple[int, Price], ...]
    """From which step on a row has which price; the first from step 0."""

    def of(self, config: PretrainConfig, num_steps: int) -> Price:
        """Return what all rows of the first steps cost together."""
        ends = [*(step for step, _ in self.stages[1:]), num_steps]
        tokens = operations = 0.0
        for (first, price), end in zip(self.stages, ends, strict=True):
            rows = rows_of(config, min(end, num_steps)) - rows_of(config, min(first, num_steps))
            tokens += rows * price.tokens
            operations += rows * price.operations
        return Price(tokens, operations)


def row_cost(config: PretrainConfig, shards: ShardFolder) -> RowCost:
    """Return what a row costs, from up to 1,024 rows spread over the training part.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    num_rows = shards.num_rows("train")
    places = np.linspace(0, num_rows - 1, min(num_rows, _MOST_ROWS_READ)).astype(np.int64)
    lengths = shards.rows("train", places).lengths

    cost_of = _cost_of(config, shards.tokenizer())

    def price(longest: int) -> Price:
        pieces = piece_lengths(lengths, longest)[1].astype(np.float64)
        tokens, mean = float(pieces.sum()) / len(lengths), float(pieces.mean())
        attended = float(
            (pieces**2).sum() / pieces.sum()
        )  # a token of a long row sees more, and there are more of them
        return Price(tokens, tokens * cost_of(length=mean, num_attended=attended))

    stages = LengthGrowth(config.schedule, shards.max_length).stages()
    return RowCost(price(shards.max_length), tuple((step, price(longest)) for step, longest in stages))


def _cost_of(config: PretrainConfig, tokenizer: Tokenizer) -> Callable[..., float]:
    """Return what gives the operations of a training step for each real token; see `token_cost`."""
    if config.objective.kind == "span":
        return partial(span_cost, config, t5_config(config.model, tokenizer.with_special_tokens(SENTINELS)))
    large = encoder_config(config.model, tokenizer)
    small = generator_config(
        large, hidden_ratio=config.model.generator_hidden_ratio, layer_ratio=config.model.generator_layer_ratio
    )
    return partial(token_cost, config, large, small)


def token_cost(
    config: PretrainConfig, large: BodyConfig, small: BodyConfig, *, length: float, num_attended: float
) -> float:
    """Return the operations of a training step for each real token.

    Args:
        config: Kind of objective and masking; a share that changes counts with the mean of its two ends.
        large: Sizes of the network that is fine-tuned later.
        small: Sizes of the generator, or of each of the noise model's towers.
        length: Real tokens of a row, of which two are special.
        num_attended: Real tokens of the row that a token stands in, on average over the tokens.
    """
    objective, not_special = config.objective, (length - 2) / length
    chosen = _chosen_share(config.masking, not_special)
    has_next = (length - 1) / length
    body = body_operations(large, num_attended)
    fills_in = body + chosen * token_operations(large)
    continues = body_operations(large, num_attended, is_causal=True) + has_next * token_operations(large)
    generator = body_operations(small, num_attended) + chosen * token_operations(small)
    towers = 2 * body_operations(small, num_attended, is_causal=True) + not_special * (
        2 * vector_operations(small) + vocabulary_operations(small)
    )
    gate = 2 * large.hidden_size
    detects = body + judging_operations(large)
    cropped = (objective.crop_share * (length - 2) + 2) / length  # of a row's tokens
    views = 2 * (config.training.micro_batch_size or config.training.batch_size)
    causal = objective.causal_share
    learned: dict[str, float] = {
        "rtd": detects,
        "contrastive": detects
        + cropped * body_operations(large, cropped * num_attended)
        + 2 * 2 * views * large.hidden_size / length,  # a cosine between each of two views and all
        "halves": detects + judging_operations(large) / length,  # a head of the same shape, once a row
        "electra-15": body + chosen * judging_operations(large),
        "mlm": fills_in,
        "clm": continues,
        "hybrid": (1 - causal) * fills_in + causal * continues,
        "replace-mlm": generator + fills_in,
        "all-tokens-mlm": generator + body + token_operations(large) + gate,
        "electric": towers + detects,
    }
    forward = learned[objective.kind]
    if objective.kind in ("rtd", "contrastive", "halves", "electra-15"):
        learns = 1 / (1 + _BACKWARD) if objective.freeze_generator else 1.0
        forward += learns * generator
    return (1 + _BACKWARD) * forward


def span_cost(config: PretrainConfig, network: T5Config, *, length: float, num_attended: float) -> float:
    """Return the operations of a training step of span corruption for each real token of the original rows.

    Args:
        config: Share and length of spans, and share of copied rows.
        network: Sizes.
        length: Real tokens of a row, of which two are special.
        num_attended: As in `token_cost`.
    """
    hidden = _chosen_share(config.masking, (length - 2) / length) * length
    spans = max(1.0, hidden / config.masking.mean_span_tokens)
    copied = config.objective.copy_share
    cases = [(1 - copied, length - hidden + spans, hidden + spans + 1), (copied, length, length - 1)]
    forward = 0.0
    for share, num_read, num_written in cases:
        reading = t5_encoder_operations(network, num_attended * num_read / length)
        writing = t5_decoder_operations(network, num_written=num_written, num_read=num_read)
        forward += share * (num_read * reading + num_written * writing) / length
    return (1 + _BACKWARD) * forward


def _chosen_share(masking: MaskingConfig, not_special: float) -> float:
    """Return the share of all real tokens that is chosen, on average over a run."""
    last = masking.mask_prob if masking.mask_prob_end is None else masking.mask_prob_end
    return (masking.mask_prob + last) / 2 * (not_special if masking.share_of == "candidates" else 1.0)


def steps_for(amount: float, reached: Callable[[int], float]) -> int:
    """Return the number of steps, at least 1, that comes nearest to an amount.

    Args:
        amount: Of rows, tokens or operations.
        reached: The amount after so many steps; rises.
    """
    above = bisect_left(range(_MOST_STEPS), amount, key=reached)
    below = above - 1
    return above if below < 1 or reached(above) - amount <= amount - reached(below) else below


def rows_of(config: PretrainConfig, num_steps: int) -> int:
    """Return how many rows the first steps have."""
    return BatchGrowth(config.training).first_row(num_steps)
