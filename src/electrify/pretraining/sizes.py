"""Sizes of a run's networks, and what they share, when one of them or both are published ones."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from electrify.config import ModelConfig, PretrainConfig
from electrify.data.tokenizer import Tokenizer
from electrify.errors import CheckpointError, ConfigError
from electrify.models.build import generator_config
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.heads import Body, BodyConfig, Network
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.pretraining.networks import encoder_config

ROLES = ("discriminator", "generator")


def all_configs(
    configs: dict[str, BodyConfig], config: PretrainConfig, tokenizer: Tokenizer, folder: Path
) -> dict[str, BodyConfig]:
    """Return the configs of both networks, with the recipe's dropout.

    Args:
        configs: Of the published ones, by role.
        config: The run's, for the sizes of a new one.
        tokenizer: Of the data.
        folder: For messages.

    Raises:
        CheckpointError: If the two differ in kind or vocabulary, or the vocabulary is too small for the tokenizer.
    """
    disc, gen = configs.get("discriminator"), configs.get("generator")
    if disc is None:
        assert gen is not None
        disc = _discriminator_beside(gen, config.model, tokenizer)
    if gen is None:
        ratios = {"hidden": config.model.generator_hidden_ratio, "layer": config.model.generator_layer_ratio}
        gen = generator_config(disc, hidden_ratio=ratios["hidden"], layer_ratio=ratios["layer"])
    if type(disc) is not type(gen) or disc.vocab_size != gen.vocab_size:
        raise CheckpointError(f"{folder}: discriminator and generator differ in their kind or vocabulary.")
    if tokenizer.vocab_size > disc.vocab_size:
        raise CheckpointError(f"{folder}: {disc.vocab_size} tokens, but the tokenizer has {tokenizer.vocab_size}.")
    return {"discriminator": _with_dropout(disc, config.model), "generator": _with_dropout(gen, config.model)}


def _discriminator_beside(gen: BodyConfig, model: ModelConfig, tokenizer: Tokenizer) -> BodyConfig:
    """Return the config of a new discriminator: the recipe's sizes, and the rest as in its generator."""
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


def resolve(model: ModelConfig, configs: dict[str, BodyConfig], loaded: dict[str, Network]) -> ModelConfig:
    """Return the section `model` as it is with the folder's networks.

    Args:
        model: As asked for.
        configs: Of both networks, by role.
        loaded: The published ones, whose values decide what can be shared.
    """
    disc, gen = configs["discriminator"], configs["generator"]
    values: dict[str, Any] = {
        "body": _body_name(disc),
        "hidden_size": disc.hidden_size,
        "num_layers": disc.num_hidden_layers,
        "num_heads": disc.num_attention_heads,
        "intermediate_size": disc.intermediate_size,
        "embedding_size": disc.embedding_size if isinstance(disc, ElectraConfig) else None,
        "max_positions": disc.max_position_embeddings,
    }
    if isinstance(disc, ModernBertConfig):
        values["local_attention"] = disc.local_attention
        values["global_attention_every"] = disc.global_attn_every_n_layers
    if "generator" in loaded:
        values["generator_hidden_ratio"] = min(1.0, gen.hidden_size / disc.hidden_size)
        values["generator_layer_ratio"] = min(1.0, gen.num_hidden_layers / disc.num_hidden_layers)
    values["embedding_sharing"] = _possible_sharing(model.embedding_sharing, configs, loaded)
    values["share_layers"] = model.share_layers and _layers_can_be_shared(configs, loaded)
    return model.model_copy(update=values)


def _possible_sharing(wanted: str, configs: dict[str, BodyConfig], loaded: dict[str, Network]) -> str:
    """Return as much sharing as loses nothing: what differs between two published networks stays apart."""
    if _embedding_width(configs["discriminator"]) != _embedding_width(configs["generator"]):
        return "none"
    if len(loaded) < len(ROLES) or wanted == "gdes":  # whose difference takes in what differs
        return wanted
    blocks = [body_of(loaded[role]).embeddings.state_dict() for role in ROLES]
    tables = [body_of(loaded[role]).word_embeddings.weight for role in ROLES]
    if wanted == "all" and all(torch.equal(tensor, blocks[1][name]) for name, tensor in blocks[0].items()):
        return "all"
    return "word" if wanted != "none" and torch.equal(*tables) else "none"


def _layers_can_be_shared(configs: dict[str, BodyConfig], loaded: dict[str, Network]) -> bool:
    disc, gen = configs["discriminator"], configs["generator"]
    sizes = [(one.hidden_size, one.num_attention_heads, one.intermediate_size) for one in (disc, gen)]
    if sizes[0] != sizes[1] or disc.num_hidden_layers < gen.num_hidden_layers:
        return False
    if isinstance(disc, ModernBertConfig) and isinstance(gen, ModernBertConfig):
        kinds = disc.attention_types[: gen.num_hidden_layers]
        if kinds != gen.attention_types:
            return False
    if len(loaded) < len(ROLES):
        return True
    blocks = [list(body_of(loaded[role]).blocks) for role in ROLES]
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


def body_of(network: Network) -> Body:
    """Return a network without its head."""
    return network if isinstance(network, ElectraModel | ModernBertModel) else network.body


def _embedding_width(config: BodyConfig) -> int:
    return config.embedding_size if isinstance(config, ElectraConfig) else config.hidden_size


def _body_name(config: BodyConfig) -> str:
    return "electra" if isinstance(config, ElectraConfig) else "modernbert"
