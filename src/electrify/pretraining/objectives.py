"""From a run's config to its objective, with the networks that it trains."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from electrify.config import PretrainConfig
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError
from electrify.models.build import generator_config
from electrify.models.electra import initialize_electra
from electrify.models.electra_heads import ElectraForPreTraining
from electrify.models.heads import (
    AnyConfig,
    Discriminator,
    Generator,
    Network,
    build_decoder,
    build_discriminator,
    build_generator,
)
from electrify.models.t5_heads import T5ForConditionalGeneration
from electrify.objectives.all_tokens_mlm import AllTokensMLM
from electrify.objectives.clm import CausalLanguageModelling
from electrify.objectives.contrastive import Contrastive
from electrify.objectives.electric import Electric
from electrify.objectives.halves import Halves
from electrify.objectives.hybrid import HybridLanguageModelling
from electrify.objectives.mlm import MaskedLanguageModelling
from electrify.objectives.objective import AnyObjective
from electrify.objectives.replace_mlm import ReplaceMLM
from electrify.objectives.rows import Masker
from electrify.objectives.rtd import ReplacedTokenDetection
from electrify.objectives.sharing import make_layers_alike, share_embeddings, share_layers
from electrify.objectives.span import SpanCorruption
from electrify.objectives.span_corruption import SpanDrawer
from electrify.objectives.two_towers import TwoTowers
from electrify.pretraining.networks import SENTINELS, encoder_config, t5_config

Builders = Mapping[str, Callable[[Any], Network]]
Networks = Mapping[str, Any]
"""Networks of an objective by their roles."""


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
    with _seeded(config):
        networks = {role: build(configs[role]) for role, build in OBJECTIVES[config.objective.kind].builders.items()}
        discriminator = networks.get("discriminator")
        if config.model.head_init == "normal" and isinstance(discriminator, ElectraForPreTraining):
            initialize_electra(discriminator.discriminator_predictions, discriminator.config)
    return networks


def assemble_rtd(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> ReplacedTokenDetection:
    """Put a generator and a discriminator together.

    Raises:
        ConfigError: If the generator can not be frozen.
    """
    generator, discriminator = networks["generator"], networks["discriminator"]
    _share(config, generator, discriminator)
    if config.objective.freeze_generator:
        _freeze(config, generator)
    return ReplacedTokenDetection(
        generator,
        discriminator,
        masker=build_masker(config, tokenizer),
        objective=config.objective,
        judges_all=config.objective.kind != "electra-15",
    )


def assemble_contrastive(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> Contrastive:
    """Put a generator and a discriminator together, with views of rows beside."""
    return Contrastive(assemble_rtd(config, tokenizer, networks), objective=config.objective)


def assemble_halves(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> Halves:
    """Put a generator and a discriminator together, with the relation of halves beside.

    Raises:
        ConfigError: If halves of rows could not see each other.
    """
    if config.data.isolate_documents:
        raise ConfigError(
            'objective.kind = "halves" compares halves of rows, which data.isolate_documents hides from each other. '
            "Set it to false, and prepare with --pack pieces for rows of one document."
        )
    rtd = assemble_rtd(config, tokenizer, networks)
    with _seeded(config):
        return Halves(rtd, objective=config.objective)


def assemble_mlm(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> MaskedLanguageModelling:
    """Let one network fill in what is hidden."""
    masker = build_masker(config, tokenizer)
    return MaskedLanguageModelling(networks["encoder"], masker=masker, z_loss=config.objective.z_loss)


def assemble_clm(config: PretrainConfig, _tokenizer: Tokenizer, networks: Networks) -> CausalLanguageModelling:
    """Let one network predict the next token."""
    return CausalLanguageModelling(networks["decoder"], z_loss=config.objective.z_loss)


def assemble_span(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> SpanCorruption:
    """Let an encoder-decoder fill in spans; its vocabulary is the tokenizer's and as many sentinels as T5 has.

    Raises:
        ConfigError: If positions are drawn with replacement, layers are to be alike, or a setting is not for this kind.
    """
    _require_distinct(config)
    _refuse_unread(config, "masking.adaptive", "objective.z_loss")
    if config.model.layers_alike:
        raise ConfigError('model.layers_alike is not for objective.kind = "span", whose layers are of two kinds.')
    extended = tokenizer.with_special_tokens(SENTINELS)
    drawer = SpanDrawer(
        config.masking,
        special_ids=tokenizer.special_ids,
        sentinel_ids=extended.token_ids(SENTINELS),
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.sep_id,
    )
    network = networks["encoder_decoder"]
    return SpanCorruption(network, drawer=drawer, sentinels=SENTINELS, copy_share=config.objective.copy_share)


def assemble_hybrid(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> HybridLanguageModelling:
    """Let one network fill in and continue.

    Raises:
        ConfigError: If a setting is not for this kind.
    """
    _refuse_unread(config, "masking.adaptive")
    masker = build_masker(config, tokenizer)
    share, z_loss = config.objective.causal_share, config.objective.z_loss
    return HybridLanguageModelling(networks["encoder"], masker=masker, causal_share=share, z_loss=z_loss)


def assemble_replace_mlm(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> ReplaceMLM:
    """Put a generator and an encoder with a head over the vocabulary together."""
    generator, encoder = networks["generator"], networks["encoder"]
    _share(config, generator, encoder)
    return ReplaceMLM(generator, encoder, masker=build_masker(config, tokenizer), objective=config.objective)


def assemble_all_tokens_mlm(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> AllTokensMLM:
    """Put a generator and an encoder with a head over the vocabulary and a gate that copies together."""
    generator, encoder = networks["generator"], networks["encoder"]
    _share(config, generator, encoder)
    with _seeded(config):
        return AllTokensMLM(generator, encoder, masker=build_masker(config, tokenizer), objective=config.objective)


def assemble_electric(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> Electric:
    """Put a scorer and the two towers of its noise model together.

    Raises:
        ConfigError: If tokens can be drawn more than once, or a setting is not for this kind.
    """
    _require_distinct(config)
    _refuse_unread(config, "masking.adaptive", "objective.z_loss")
    scorer, forwards, backwards = networks["scorer"], networks["forwards"], networks["backwards"]
    has_values = config.init_from is not None
    share_embeddings(forwards, scorer, config.model.embedding_sharing, keeps_values=has_values)
    share_embeddings(backwards, forwards, "all" if config.model.embedding_sharing == "all" else "word")
    noise = TwoTowers(forwards, backwards)
    return Electric(scorer, noise, masker=build_masker(config, tokenizer), objective=config.objective)


def build_masker(config: PretrainConfig, tokenizer: Tokenizer) -> Masker:
    """Return what hides tokens of this vocabulary.

    Raises:
        ConfigError: If words, spans or hard tokens are asked for and can not be told or drawn.
    """
    unit, continuing = config.masking.unit, tokenizer.continuing_ids
    if unit != "token" and config.masking.draw != "distinct":
        raise ConfigError(f'masking.unit = "{unit}" draws each position once; set masking.draw = "distinct".')
    if unit != "token" and continuing is None:
        raise ConfigError(
            f'masking.unit = "{unit}" needs a WordPiece tokenizer, which marks the pieces inside words; this one is of '
            'another kind. Set masking.unit = "token".'
        )
    if config.masking.adaptive and (unit != "token" or config.masking.draw != "distinct"):
        raise ConfigError('masking.adaptive chooses single tokens; set masking.unit = "token" and draw = "distinct".')
    return Masker(
        config.masking,
        special_ids=tokenizer.special_ids,
        mask_id=tokenizer.mask_id,
        vocab_size=tokenizer.vocab_size,
        continuing_ids=continuing or (),
    )


def _refuse_unread(config: PretrainConfig, *settings: str) -> None:
    """Raise if a setting is above 0 that this kind of objective would pass over."""
    for setting in settings:
        section, key = setting.split(".")
        if getattr(getattr(config, section), key):
            raise ConfigError(f'objective.kind = "{config.objective.kind}" does not read {setting}; set it to 0.')


def _require_distinct(config: PretrainConfig) -> None:
    if config.masking.draw != "distinct":
        raise ConfigError(
            f'objective.kind = "{config.objective.kind}" replaces each token at most once: set masking.draw = '
            '"distinct".'
        )


def _freeze(config: PretrainConfig, generator: Generator) -> None:
    if config.init_from is None:
        raise ConfigError("objective.freeze_generator needs a generator that has learned; give init_from.")
    if config.model.embedding_sharing in ("word", "all") or config.model.share_layers:
        raise ConfigError(
            "objective.freeze_generator: what it shares with the discriminator would not stay as it is. Set "
            'model.embedding_sharing = "gdes" or "none", and share_layers = false.'
        )
    generator.requires_grad_(False)


def _share(config: PretrainConfig, generator: Generator, other: Discriminator | Generator) -> None:
    has_values = config.init_from is not None
    share_embeddings(generator, other, config.model.embedding_sharing, keeps_values=has_values)
    if config.model.share_layers:
        share_layers(generator, other)


@contextmanager
def _seeded(config: PretrainConfig) -> Iterator[None]:
    """Draw first values from the run's seed, and leave torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        yield


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
