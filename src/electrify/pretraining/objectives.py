"""From a run's config to its objective, with the networks that it trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from electrify.config import PretrainConfig
from electrify.data.tokenizer import Tokenizer
from electrify.models.build import generator_config
from electrify.models.electra import initialize_electra
from electrify.models.electra_heads import ElectraForPreTraining
from electrify.models.heads import (
    AnyConfig,
    Network,
    build_decoder,
    build_discriminator,
    build_generator,
)
from electrify.models.t5_heads import T5ForConditionalGeneration
from electrify.objectives.objective import AnyObjective
from electrify.objectives.rtd import ReplacedTokenDetection
from electrify.objectives.sharing import make_layers_alike
from electrify.pretraining.assembling import (
    Networks,
    assemble_all_tokens_mlm,
    assemble_clm,
    assemble_contrastive,
    assemble_electric,
    assemble_halves,
    assemble_hybrid,
    assemble_mlm,
    assemble_replace_mlm,
    assemble_rtd,
    assemble_span,
    seeded,
)
from electrify.pretraining.networks import SENTINELS, encoder_config, t5_config

Builders = Mapping[str, Callable[[Any], Network]]


@dataclass(frozen=True, slots=True)
class Kind:
    """How an objective is made."""

    builders: Builders
    """What builds its networks, by their roles; the first one has the sizes of the config, the others a generator's."""
    assemble: Callable[[PretrainConfig, Tokenizer, Networks], AnyObjective]
    """Lets the networks share what the config says, and puts them together."""


def build_objective(config: PretrainConfig, tokenizer: Tokenizer) -> AnyObjective:
    """Build the objective that the config names, its networks with weights drawn from the run's seed.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    networks = build_networks(config, network_configs(config, tokenizer))
    objective = OBJECTIVES[config.objective.kind].assemble(config, tokenizer, networks)
    share_within(config, objective)
    return objective


def share_within(config: PretrainConfig, objective: AnyObjective) -> None:
    """Let the layers of each network share what the config says, in place."""
    if config.model.layers_alike:
        for network in objective.trained():
            make_layers_alike(network)


def build_rtd(config: PretrainConfig, tokenizer: Tokenizer) -> ReplacedTokenDetection:
    """Do the same for a config whose objective is known to be this one."""
    return assemble_rtd(config, tokenizer, build_networks(config, network_configs(config, tokenizer)))


def network_configs(config: PretrainConfig, tokenizer: Tokenizer) -> dict[str, AnyConfig]:
    """Return the sizes of the networks of an objective by their roles.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    first, *others = OBJECTIVES[config.objective.kind].builders
    if config.objective.kind == "span":
        return {first: t5_config(config.model, tokenizer.with_special_tokens(SENTINELS))}
    large = encoder_config(config.model, tokenizer)
    if not others:
        return {first: large}
    small = generator_config(
        large,
        hidden_ratio=config.model.generator_hidden_ratio,
        layer_ratio=config.model.generator_layer_ratio,
    )
    return {first: large, **dict.fromkeys(others, small)}


def build_networks(config: PretrainConfig, configs: Mapping[str, AnyConfig]) -> dict[str, Network]:
    """Build the networks of an objective, which share nothing yet, with weights drawn from the run's seed."""
    with seeded(config):
        networks = {role: build(configs[role]) for role, build in OBJECTIVES[config.objective.kind].builders.items()}
        discriminator = networks.get("discriminator")
        if config.model.head_init == "normal" and isinstance(discriminator, ElectraForPreTraining):
            initialize_electra(discriminator.discriminator_predictions, discriminator.config)
    return networks


_PAIR: Builders = {"discriminator": build_discriminator, "generator": build_generator}
_ENCODER_AND_GENERATOR: Builders = {"encoder": build_generator, "generator": build_generator}
_SCORER_AND_TOWERS: Builders = {"scorer": build_discriminator, "forwards": build_decoder, "backwards": build_decoder}

OBJECTIVES: dict[str, Kind] = {
    "rtd": Kind(_PAIR, assemble_rtd),
    "contrastive": Kind(_PAIR, assemble_contrastive),
    "halves": Kind(_PAIR, assemble_halves),
    "electric": Kind(_SCORER_AND_TOWERS, assemble_electric),
    "electra-15": Kind(_PAIR, assemble_rtd),
    "mlm": Kind({"encoder": build_generator}, assemble_mlm),
    "clm": Kind({"decoder": build_decoder}, assemble_clm),
    "span": Kind({"encoder_decoder": T5ForConditionalGeneration}, assemble_span),
    "hybrid": Kind({"encoder": build_generator}, assemble_hybrid),
    "replace-mlm": Kind(_ENCODER_AND_GENERATOR, assemble_replace_mlm),
    "all-tokens-mlm": Kind(_ENCODER_AND_GENERATOR, assemble_all_tokens_mlm),
}
