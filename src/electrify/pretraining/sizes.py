"""Sizes of a run's networks, and what they share, when one of them or both are published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from electrify.config import ModelConfig, PretrainConfig
from electrify.data.tokenizer import Tokenizer
from electrify.errors import CheckpointError, ConfigError
from electrify.models.build import generator_config
from electrify.models.electra import ElectraConfig
from electrify.models.heads import AnyConfig, BodyConfig, Network, body_of
from electrify.models.modernbert import ModernBertConfig
from electrify.models.t5_config import T5Config
from electrify.objectives.sharing import layers_are_alike
from electrify.pretraining.networks import encoder_config

_REACH = {
    "max_positions": "max_position_embeddings",
    "local_attention": "local_attention",
    "global_rope_theta": "global_rope_theta",
    "local_rope_theta": "local_rope_theta",
}
"""Settings of the modernbert body that may change when a run starts from a published network; their published names."""


def all_configs(
    configs: dict[str, BodyConfig], config: PretrainConfig, tokenizer: Tokenizer, folder: Path, *, roles: Sequence[str]
) -> dict[str, BodyConfig]:
    """Return the configs of all networks of a run, with the recipe's dropout.

    Args:
        configs: Of the published ones, by role.
        config: The run's, for the sizes of new ones.
        tokenizer: Of the data.
        folder: For messages.
        roles: Of all networks; the first one is the largest, the others are a generator's size.

    Raises:
        CheckpointError: If networks differ in kind or vocabulary, or the vocabulary is too small for the tokenizer.
    """
    first, *others = roles
    large, small = configs.get(first), configs.get("generator")
    if large is None:
        assert small is not None
        large = _larger_beside(small, config.model, tokenizer)
    if small is None and others:
        ratios = {"hidden": config.model.generator_hidden_ratio, "layer": config.model.generator_layer_ratio}
        small = generator_config(large, hidden_ratio=ratios["hidden"], layer_ratio=ratios["layer"])
    small = small or large
    if type(large) is not type(small) or large.vocab_size != small.vocab_size:
        raise CheckpointError(f"{folder}: {first} and generator differ in their kind or vocabulary.")
    if tokenizer.vocab_size > large.vocab_size:
        raise CheckpointError(f"{folder}: {large.vocab_size} tokens, but the tokenizer has {tokenizer.vocab_size}.")
    found = {first: large, **dict.fromkeys(others, small)}
    return {role: _with_dropout(one, config.model) for role, one in found.items()}


def _larger_beside(gen: BodyConfig, model: ModelConfig, tokenizer: Tokenizer) -> BodyConfig:
    """Return the config of a new network: the recipe's sizes, and the rest as in the generator beside it."""
    new = encoder_config(model.model_copy(update={"body": _body_name(gen), "embedding_size": None}), tokenizer)
    sizes = {
        name: getattr(new, name)
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    if isinstance(gen, ModernBertConfig):
        return replace(gen, **sizes, layer_types=None)
    return replace(gen, **sizes)


def _with_dropout(config: BodyConfig, model: ModelConfig) -> BodyConfig:
    if isinstance(config, ElectraConfig):
        return replace(config, hidden_dropout_prob=model.dropout, attention_probs_dropout_prob=model.attention_dropout)
    return replace(
        config,
        embedding_dropout=model.dropout,
        mlp_dropout=model.dropout,
        attention_dropout=model.attention_dropout,
    )


def with_reach(config: BodyConfig, explicit: Mapping[str, Any]) -> BodyConfig:
    """Return a published config with what the user gave of settings that no tensor is sized by.

    In the modernbert body these are how far it reads and how fast the rotary angles turn, so a trained network can be
    made to read longer inputs; the electra body has a vector for each position and stays as it is.

    Args:
        config: The published one.
        explicit: Settings of the section `model` that the user gave.

    Raises:
        ConfigError: If a value is out of range.
    """
    if isinstance(config, ElectraConfig):
        return config
    values = {_REACH[name]: value for name, value in explicit.items() if name in _REACH}
    return replace(config, **values)


def resolve(model: ModelConfig, configs: dict[str, BodyConfig], loaded: dict[str, Network]) -> ModelConfig:
    """Return the section `model` as it is with the folder's networks.

    Args:
        model: As asked for.
        configs: Of all networks, by role, the largest first.
        loaded: The published ones, whose values decide what can be shared.
    """
    large, *others = configs.values()
    values: dict[str, Any] = {
        "body": _body_name(large),
        "hidden_size": large.hidden_size,
        "num_layers": large.num_hidden_layers,
        "num_heads": large.num_attention_heads,
        "intermediate_size": large.intermediate_size,
        "embedding_size": large.embedding_size if isinstance(large, ElectraConfig) else None,
        "max_positions": large.max_position_embeddings,
    }
    if isinstance(large, ModernBertConfig):
        values["local_attention"] = large.local_attention
        values["global_attention_every"] = large.global_attn_every_n_layers
        values["global_rope_theta"] = large.global_rope_theta
        values["local_rope_theta"] = large.local_rope_theta
    for name in ("attention_gate", "relative_bias"):
        values[name] = name in large.own_parts
    values["layers_alike"] = model.layers_alike and all(layers_are_alike(network) for network in loaded.values())
    if others:
        small = others[0]
        if "generator" in loaded:
            values["generator_hidden_ratio"] = min(1.0, small.hidden_size / large.hidden_size)
            values["generator_layer_ratio"] = min(1.0, small.num_hidden_layers / large.num_hidden_layers)
        pair = tuple(loaded.values()) if len(loaded) > 1 else ()
        values["embedding_sharing"] = _possible_sharing(model.embedding_sharing, large, small, pair)
        values["share_layers"] = model.share_layers and _layers_can_be_shared(large, small, pair)
    return model.model_copy(update=values)


def _possible_sharing(wanted: str, large: BodyConfig, small: BodyConfig, pair: Sequence[Network]) -> str:
    """Return as much sharing as loses nothing: what differs between two published networks stays apart."""
    if _embedding_width(large) != _embedding_width(small):
        return "none"
    if not pair or wanted == "gdes":  # whose difference takes in what differs
        return wanted
    mine, theirs = (body_of(network).embeddings.state_dict() for network in pair)
    tables = [body_of(network).word_embeddings.weight for network in pair]
    if wanted == "all" and all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items()):
        return "all"
    return "word" if wanted != "none" and torch.equal(*tables) else "none"


def _layers_can_be_shared(large: BodyConfig, small: BodyConfig, pair: Sequence[Network]) -> bool:
    sizes = [(one.hidden_size, one.num_attention_heads, one.intermediate_size) for one in (large, small)]
    if sizes[0] != sizes[1] or large.num_hidden_layers < small.num_hidden_layers:
        return False
    if isinstance(large, ModernBertConfig) and isinstance(small, ModernBertConfig):
        kinds = large.attention_types[: small.num_hidden_layers]
        if kinds != small.attention_types:
            return False
    blocks = [list(body_of(network).blocks) for network in pair]
    return all(
        theirs.keys() == mine.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
        for theirs, mine in ((a.state_dict(), b.state_dict()) for a, b in zip(*blocks, strict=False))
    )


def refuse_contradiction(explicit: Mapping[str, Any], model: ModelConfig, folder: Path) -> None:
    """Raise ConfigError if settings that the user gave are not those of the resolved section, naming all of them."""

    def differs(name: str, value: Any) -> bool:
        found = getattr(model, name)
        return abs(value - found) > 0.01 if isinstance(found, float) and isinstance(value, float) else value != found

    wrong = [
        f"model.{name} = {value!r}, the folder's is {getattr(model, name)!r}"
        for name, value in explicit.items()
        if differs(name, value)
    ]
    if wrong:
        raise ConfigError(f"{folder}: {'; '.join(wrong)}. Leave these settings out, or start without init_from.")


def pair_config(config: AnyConfig, place: Path) -> BodyConfig:
    """Return the config of a network that can be one of a pair.

    Raises:
        CheckpointError: If it is that of a T5 network.
    """
    if isinstance(config, T5Config):
        raise CheckpointError(f"{place}: holds a T5 network; a run starts from networks of ELECTRA or ModernBERT.")
    return config


def _embedding_width(config: BodyConfig) -> int:
    return config.embedding_size if isinstance(config, ElectraConfig) else config.hidden_size


def _body_name(config: BodyConfig) -> str:
    return "electra" if isinstance(config, ElectraConfig) else "modernbert"
