"""What puts the networks of each kind of objective together: what they share, what hides tokens, what is refused."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from electrify.config import PretrainConfig
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError
from electrify.models.heads import Discriminator, Generator
from electrify.objectives.all_tokens_mlm import AllTokensMLM
from electrify.objectives.clm import CausalLanguageModelling
from electrify.objectives.contrastive import Contrastive
from electrify.objectives.electric import Electric
from electrify.objectives.halves import Halves
from electrify.objectives.hybrid import HybridLanguageModelling
from electrify.objectives.mlm import MaskedLanguageModelling
from electrify.objectives.replace_mlm import ReplaceMLM
from electrify.objectives.rows import Masker
from electrify.objectives.rtd import ReplacedTokenDetection
from electrify.objectives.sharing import share_embeddings, share_layers
from electrify.objectives.span import SpanCorruption
from electrify.objectives.span_corruption import SpanDrawer
from electrify.objectives.two_towers import TwoTowers
from electrify.pretraining.networks import SENTINELS

Networks = Mapping[str, Any]
"""Networks of an objective by their roles."""


@contextmanager
def seeded(config: PretrainConfig) -> Iterator[None]:
    """Draw first values from the run's seed, and leave torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        yield


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
    with seeded(config):
        return Halves(rtd, objective=config.objective)


def assemble_mlm(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> MaskedLanguageModelling:
    """Let one network fill in what is hidden.

    Raises:
        ConfigError: If a setting is not for this kind.
    """
    _refuse_unread(config, "objective.freeze_generator")
    masker = build_masker(config, tokenizer)
    return MaskedLanguageModelling(networks["encoder"], masker=masker, z_loss=config.objective.z_loss)


def assemble_clm(config: PretrainConfig, _tokenizer: Tokenizer, networks: Networks) -> CausalLanguageModelling:
    """Let one network predict the next token.

    Raises:
        ConfigError: If a setting is not for this kind.
    """
    _refuse_unread(config, "objective.freeze_generator")
    return CausalLanguageModelling(networks["decoder"], z_loss=config.objective.z_loss)


def assemble_span(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> SpanCorruption:
    """Let an encoder-decoder fill in spans; its vocabulary is the tokenizer's and as many sentinels as T5 has.

    Raises:
        ConfigError: If positions are drawn with replacement, layers are to be alike, or a setting is not for this kind.
    """
    _require_distinct(config)
    _refuse_unread(config, "masking.adaptive", "objective.z_loss", "objective.freeze_generator")
    if config.model.layers_alike:
        raise ConfigError('model.layers_alike is not for objective.kind = "span", whose layers are of two kinds.')
    _refuse_unread(config, "model.attention_gate")
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
    _refuse_unread(config, "masking.adaptive", "objective.freeze_generator")
    masker = build_masker(config, tokenizer)
    share, z_loss = config.objective.causal_share, config.objective.z_loss
    return HybridLanguageModelling(networks["encoder"], masker=masker, causal_share=share, z_loss=z_loss)


def assemble_replace_mlm(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> ReplaceMLM:
    """Put a generator and an encoder with a head over the vocabulary together.

    Raises:
        ConfigError: If a setting is not for this kind.
    """
    _refuse_unread(config, "objective.freeze_generator")
    generator, encoder = networks["generator"], networks["encoder"]
    _share(config, generator, encoder)
    return ReplaceMLM(generator, encoder, masker=build_masker(config, tokenizer), objective=config.objective)


def assemble_all_tokens_mlm(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> AllTokensMLM:
    """Put a generator and an encoder with a head over the vocabulary and a gate that copies together.

    Raises:
        ConfigError: If a setting is not for this kind.
    """
    _refuse_unread(config, "objective.freeze_generator")
    generator, encoder = networks["generator"], networks["encoder"]
    _share(config, generator, encoder)
    with seeded(config):
        return AllTokensMLM(generator, encoder, masker=build_masker(config, tokenizer), objective=config.objective)


def assemble_electric(config: PretrainConfig, tokenizer: Tokenizer, networks: Networks) -> Electric:
    """Put a scorer and the two towers of its noise model together.

    Raises:
        ConfigError: If tokens can be drawn more than once, or a setting is not for this kind.
    """
    _require_distinct(config)
    _refuse_unread(config, "masking.adaptive", "objective.z_loss", "objective.freeze_generator")
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
    """Raise if a setting is true or above 0 that this kind of objective would pass over."""
    for setting in settings:
        section, key = setting.split(".")
        if value := getattr(getattr(config, section), key):
            off = "false" if value is True else "0"
            raise ConfigError(f'objective.kind = "{config.objective.kind}" does not read {setting}; set it to {off}.')


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
