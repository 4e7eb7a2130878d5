"""From a run's config to its objective, with the networks that it trains."""

from collections.abc import Callable

import torch

from electrify.config import PretrainConfig
from electrify.data.tokenizer import Tokenizer
from electrify.models.build import generator_config
from electrify.models.electra import initialize_electra
from electrify.models.electra_heads import ElectraForPreTraining
from electrify.models.heads import BodyConfig, Discriminator, Generator, build_discriminator, build_generator
from electrify.objectives.objective import AnyObjective
from electrify.objectives.rtd import ReplacedTokenDetection
from electrify.objectives.sharing import share_embeddings, share_layers
from electrify.pretraining.networks import discriminator_config


def build_objective(config: PretrainConfig, tokenizer: Tokenizer) -> AnyObjective:
    """Build the objective that the config names, its networks with weights drawn from the run's seed.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    return OBJECTIVES[config.objective.kind](config, tokenizer)


def build_rtd(config: PretrainConfig, tokenizer: Tokenizer) -> ReplacedTokenDetection:
    """Build both networks with weights drawn from the run's seed, sharing what the config says."""
    disc_config = discriminator_config(config.model, tokenizer)
    gen_config = generator_config(
        disc_config,
        hidden_ratio=config.model.generator_hidden_ratio,
        layer_ratio=config.model.generator_layer_ratio,
    )
    discriminator, generator = build_pair(config, disc_config=disc_config, gen_config=gen_config)
    return assemble_rtd(config, tokenizer, generator=generator, discriminator=discriminator)


def build_pair(
    config: PretrainConfig, *, disc_config: BodyConfig, gen_config: BodyConfig
) -> tuple[Discriminator, Generator]:
    """Build a discriminator and a generator with weights drawn from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        discriminator, generator = build_discriminator(disc_config), build_generator(gen_config)
        if config.model.head_init == "normal" and isinstance(discriminator, ElectraForPreTraining):
            initialize_electra(discriminator.discriminator_predictions, discriminator.config)
    return discriminator, generator


def assemble_rtd(
    config: PretrainConfig, tokenizer: Tokenizer, *, generator: Generator, discriminator: Discriminator
) -> ReplacedTokenDetection:
    """Let two networks share what the config says, and put them together."""
    share_embeddings(generator, discriminator, config.model.embedding_sharing)
    if config.model.share_layers:
        share_layers(generator, discriminator)
    return ReplacedTokenDetection(
        generator,
        discriminator,
        masking=config.masking,
        objective=config.objective,
        special_ids=tokenizer.special_ids,
        mask_id=tokenizer.mask_id,
    )


OBJECTIVES: dict[str, Callable[[PretrainConfig, Tokenizer], AnyObjective]] = {"rtd": build_rtd}
