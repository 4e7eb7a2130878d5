"""How much a run computes: operations a row from its config, and the length of a run that a budget pays for.

What is counted is what `models.operations` counts, the matrix products that the objective can not do without, forward
and backward. So a row has a price that depends on sizes, kind and lengths, and on no machine. Frozen generators have no
backward pass; the embedding of ids, norms, sampling and the optimizer are not counted.
"""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from electrify.config import MaskingConfig, PretrainConfig
from electrify.data.shards import ShardFolder
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
from electrify.pretraining.growth import BatchGrowth
from electrify.pretraining.networks import SENTINELS, encoder_config, t5_config

_BACKWARD = 2  # twice the forward pass
_MOST_ROWS_READ = 1024
_MOST_STEPS = 10**9


@dataclass(frozen=True, slots=True)
class RowCost:
    """What the rows of a shard folder cost a run, on average."""

    tokens: float
    """Real tokens of a row, special ones included."""
    operations: float
    """Of a row, forward and backward."""


def row_cost(config: PretrainConfig, shards: ShardFolder) -> RowCost:
    """Return what a row costs, from up to 1,024 rows spread over the training part.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    num_rows = shards.num_rows("train")
    places = np.linspace(0, num_rows - 1, min(num_rows, _MOST_ROWS_READ)).astype(np.int64)
    lengths = shards.rows("train", places).lengths.astype(np.float64)
    mean = float(lengths.mean())
    attended = float((lengths**2).sum() / lengths.sum())  # a token of a long row sees more, and there are more of them
    if config.objective.kind == "span":
        network = t5_config(config.model, shards.tokenizer().with_special_tokens(SENTINELS))
        return RowCost(mean, mean * span_cost(config, network, length=mean, num_attended=attended))
    large = encoder_config(config.model, shards.tokenizer())
    small = generator_config(
        large, hidden_ratio=config.model.generator_hidden_ratio, layer_ratio=config.model.generator_layer_ratio
    )
    return RowCost(mean, mean * token_cost(config, large, small, length=mean, num_attended=attended))


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
    causal = objective.causal_share
    learned: dict[str, float] = {
        "rtd": body + judging_operations(large),
        "electra-15": body + chosen * judging_operations(large),
        "mlm": fills_in,
        "clm": continues,
        "hybrid": (1 - causal) * fills_in + causal * continues,
        "replace-mlm": generator + fills_in,
        "all-tokens-mlm": generator + body + token_operations(large) + gate,
        "electric": towers + body + judging_operations(large),
    }
    forward = learned[objective.kind]
    if objective.kind in ("rtd", "electra-15"):
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


def steps_for(config: PretrainConfig, num_rows: float) -> int:
    """Return the number of steps, at least 1, whose rows are nearest to a number of rows."""
    first_row = BatchGrowth(config.training).first_row
    above = bisect_left(range(_MOST_STEPS), num_rows, key=first_row)
    below = above - 1
    return above if below < 1 or first_row(above) - num_rows <= num_rows - first_row(below) else below


def rows_of(config: PretrainConfig, num_steps: int) -> int:
    """Return how many rows the first steps have."""
    return BatchGrowth(config.training).first_row(num_steps)
