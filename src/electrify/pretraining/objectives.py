"""From a run's config to its objective, with the networks that it trains."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from electrify.config import PretrainConfig
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError
from electrify.models.build import generator_config
from electrify.models.electra import initialize_electra
from electrify.models.electra_heads import ElectraForPreTraining
from electrify.models.heads import (
    BodyConfig,
    Discriminator,
    Generator,
    build_decoder,
    build_discriminator,
    build_generator,
)
from electrify.objectives.all_tokens_mlm import AllTokensMLM
from electrify.objectives.clm import CausalLanguageModelling
from electrify.objectives.electric import Electric
from electrify.objectives.hybrid import HybridLanguageModelling
from electrify.objectives.mlm import MaskedLanguageModelling
from electrify.objectives.objective import AnyObjective
from electrify.objectives.replace_mlm import ReplaceMLM
from electrify.objectives.rows import Masker
from electrify.objectives.rtd import ReplacedTokenDetection
from electrify.objectives.sharing import share_embeddings, share_layers
from electrify.objectives.two_towers import TwoTowers
from electrify.pretraining.networks import encoder_config


def build_objective(config: PretrainConfig, tokenizer: Tokenizer) -> AnyObjective:
    """Build the objective that the config names, its networks with weights drawn from the run's seed.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    return OBJECTIVES[config.objective.kind](config, tokenizer)


def build_rtd(config: PretrainConfig, tokenizer: Tokenizer) -> ReplacedTokenDetection:
    """Build both networks with weights drawn from the run's seed, sharing what the config says."""
    disc_config, gen_config = _pair_configs(config, tokenizer)
    discriminator, generator = build_pair(config, disc_config=disc_config, gen_config=gen_config)
    return assemble_rtd(config, tokenizer, generator=generator, discriminator=discriminator)


def build_pair(
    config: PretrainConfig, *, disc_config: BodyConfig, gen_config: BodyConfig
) -> tuple[Discriminator, Generator]:
    """Build a discriminator and a generator with weights drawn from the run's seed."""
    with _seeded(config):
        discriminator, generator = build_discriminator(disc_config), build_generator(gen_config)
        if config.model.head_init == "normal" and isinstance(discriminator, ElectraForPreTraining):
            initialize_electra(discriminator.discriminator_predictions, discriminator.config)
    return discriminator, generator


def assemble_rtd(
    config: PretrainConfig, tokenizer: Tokenizer, *, generator: Generator, discriminator: Discriminator
) -> ReplacedTokenDetection:
    """Let two networks share what the config says, and put them together.

    Raises:
        ConfigError: If the generator can not be frozen.
    """
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


def build_mlm(config: PretrainConfig, tokenizer: Tokenizer) -> MaskedLanguageModelling:
    """Build one network that fills in what is hidden."""
    with _seeded(config):
        encoder = build_generator(encoder_config(config.model, tokenizer))
    return MaskedLanguageModelling(encoder, masker=build_masker(config, tokenizer))


def build_clm(config: PretrainConfig, tokenizer: Tokenizer) -> CausalLanguageModelling:
    """Build one network that predicts the next token."""
    with _seeded(config):
        return CausalLanguageModelling(build_decoder(encoder_config(config.model, tokenizer)))


def build_hybrid(config: PretrainConfig, tokenizer: Tokenizer) -> HybridLanguageModelling:
    """Build one network that fills in and continues."""
    with _seeded(config):
        network = build_generator(encoder_config(config.model, tokenizer))
    masker = build_masker(config, tokenizer)
    return HybridLanguageModelling(network, masker=masker, causal_share=config.objective.causal_share)


def build_replace_mlm(config: PretrainConfig, tokenizer: Tokenizer) -> ReplaceMLM:
    """Build a generator and an encoder with a head over the vocabulary."""
    encoder, generator = _build_encoder_and_generator(config, tokenizer)
    return ReplaceMLM(generator, encoder, masker=build_masker(config, tokenizer), objective=config.objective)


def build_all_tokens_mlm(config: PretrainConfig, tokenizer: Tokenizer) -> AllTokensMLM:
    """Build a generator and an encoder with a head over the vocabulary and a gate that copies."""
    encoder, generator = _build_encoder_and_generator(config, tokenizer)
    with _seeded(config):
        return AllTokensMLM(generator, encoder, masker=build_masker(config, tokenizer), objective=config.objective)


def build_electric(config: PretrainConfig, tokenizer: Tokenizer) -> Electric:
    """Build a scorer and the two towers of its noise model, which are as large as a generator."""
    if config.masking.draw != "distinct":
        raise ConfigError(
            'objective.kind = "electric" replaces each token at most once: set masking.draw = "distinct".'
        )
    large, small = _pair_configs(config, tokenizer)
    with _seeded(config):
        scorer, forwards, backwards = build_discriminator(large), build_decoder(small), build_decoder(small)
    share_embeddings(forwards, scorer, config.model.embedding_sharing)
    share_embeddings(backwards, forwards, "all" if config.model.embedding_sharing == "all" else "word")
    noise = TwoTowers(forwards, backwards)
    return Electric(scorer, noise, masker=build_masker(config, tokenizer), objective=config.objective)


def build_masker(config: PretrainConfig, tokenizer: Tokenizer) -> Masker:
    """Return what hides tokens of this vocabulary.

    Raises:
        ConfigError: If words or spans are asked for and can not be told or drawn.
    """
    unit, continuing = config.masking.unit, tokenizer.continuing_ids
    if unit != "token" and config.masking.draw != "distinct":
        raise ConfigError(f'masking.unit = "{unit}" draws each position once; set masking.draw = "distinct".')
    if unit != "token" and continuing is None:
        raise ConfigError(
            f'masking.unit = "{unit}" needs a WordPiece tokenizer, which marks the pieces inside words; this one is of '
            'another kind. Set masking.unit = "token".'
        )
    return Masker(
        config.masking,
        special_ids=tokenizer.special_ids,
        mask_id=tokenizer.mask_id,
        vocab_size=tokenizer.vocab_size,
        continuing_ids=continuing or (),
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


def _build_encoder_and_generator(config: PretrainConfig, tokenizer: Tokenizer) -> tuple[Generator, Generator]:
    large, small = _pair_configs(config, tokenizer)
    with _seeded(config):
        encoder, generator = build_generator(large), build_generator(small)
    _share(config, generator, encoder)
    return encoder, generator


def _pair_configs(config: PretrainConfig, tokenizer: Tokenizer) -> tuple[BodyConfig, BodyConfig]:
    large = encoder_config(config.model, tokenizer)
    small = generator_config(
        large,
        hidden_ratio=config.model.generator_hidden_ratio,
        layer_ratio=config.model.generator_layer_ratio,
    )
    return large, small


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


OBJECTIVES: dict[str, Callable[[PretrainConfig, Tokenizer], AnyObjective]] = {
    "rtd": build_rtd,
    "electric": build_electric,
    "electra-15": build_rtd,
    "mlm": build_mlm,
    "clm": build_clm,
    "hybrid": build_hybrid,
    "replace-mlm": build_replace_mlm,
    "all-tokens-mlm": build_all_tokens_mlm,
}
