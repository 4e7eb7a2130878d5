"""Sizes of a generator from those of its discriminator."""

import dataclasses
import math
from typing import TypeVar

from electrify.errors import ConfigError
from electrify.models.electra import ElectraConfig
from electrify.models.modernbert import ModernBertConfig

Config = TypeVar("Config", bound=ElectraConfig | ModernBertConfig)


def generator_config(config: Config, *, hidden_ratio: float, layer_ratio: float) -> Config:
    """Return the config of a generator that is narrower or shallower than its discriminator.

    The head size is kept: the number of heads is scaled and rounded (at least 1), and width and feed-forward follow
    it, so a small network may come out wider than asked. An ELECTRA generator keeps the embedding size, so embeddings
    can be shared; ModernBERT has no projection behind its embeddings, so there only `hidden_ratio` 1 allows sharing.

    Args:
        config: Of the discriminator.
        hidden_ratio: Width, heads and feed-forward width relative to it, in (0, 1].
        layer_ratio: Number of layers relative to it, in (0, 1]; rounded up.

    Raises:
        ConfigError: If a ratio is out of range.
    """
    for name, ratio in (("hidden_ratio", hidden_ratio), ("layer_ratio", layer_ratio)):
        if not 0 < ratio <= 1:
            raise ConfigError(f"generator {name} must be in (0, 1], got {ratio}.")
    num_heads = max(1, math.floor(config.num_attention_heads * hidden_ratio + 0.5))
    # Without the small number, a third of 12 layers could come out as 5.
    num_layers = max(1, math.ceil(config.num_hidden_layers * layer_ratio - 1e-6))
    smaller = dataclasses.replace(
        config,
        hidden_size=config.hidden_size // config.num_attention_heads * num_heads,
        num_attention_heads=num_heads,
        intermediate_size=max(1, config.intermediate_size * num_heads // config.num_attention_heads),
    )
    if isinstance(smaller, ModernBertConfig) and smaller.layer_types is not None:
        kinds = smaller.layer_types[:num_layers]
        return dataclasses.replace(smaller, num_hidden_layers=num_layers, layer_types=kinds)
    return dataclasses.replace(smaller, num_hidden_layers=num_layers)
