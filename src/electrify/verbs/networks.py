"""From a run's config to its two networks, and from rows of ids to their inputs."""

import torch

from electrify.config import ModelConfig, PretrainConfig
from electrify.data.cooccurrence import count_neighbours, neighbour_vectors
from electrify.data.shards import Rows, ShardFolder
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError
from electrify.models.build import generator_config
from electrify.models.electra import ElectraConfig, initialize_electra
from electrify.models.electra_heads import ElectraForPreTraining
from electrify.models.heads import BodyConfig, build_discriminator, build_generator
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig
from electrify.objectives.rtd import ReplacedTokenDetection
from electrify.objectives.sharing import share_embeddings, share_layers

_COUNTED_TOKENS = 16_000_000


def discriminator_config(model: ModelConfig, tokenizer: Tokenizer) -> BodyConfig:
    """Return the published config of the discriminator.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    if model.hidden_size % model.num_heads:
        raise ConfigError(
            f"model.num_heads = {model.num_heads} does not divide model.hidden_size = {model.hidden_size}."
        )
    if model.body == "electra":
        return ElectraConfig(
            vocab_size=tokenizer.vocab_size,
            embedding_size=model.embedding_size or model.hidden_size,
            hidden_size=model.hidden_size,
            num_hidden_layers=model.num_layers,
            num_attention_heads=model.num_heads,
            intermediate_size=model.intermediate_size,
            hidden_dropout_prob=model.dropout,
            attention_probs_dropout_prob=model.attention_dropout,
            max_position_embeddings=model.max_positions,
            pad_token_id=tokenizer.pad_id,
        )
    if model.embedding_size not in (None, model.hidden_size):
        raise ConfigError(
            f"model.embedding_size = {model.embedding_size}: the modernbert body has embeddings as wide as hidden_size "
            f"({model.hidden_size}); leave it out."
        )
    return ModernBertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_layers,
        num_attention_heads=model.num_heads,
        intermediate_size=model.intermediate_size,
        embedding_dropout=model.dropout,
        mlp_dropout=model.dropout,
        attention_dropout=model.attention_dropout,
        max_position_embeddings=model.max_positions,
        local_attention=model.local_attention,
        classifier_pooling="mean",  # nothing in this objective makes [CLS] a summary of its row
        global_attn_every_n_layers=model.global_attention_every,
        pad_token_id=tokenizer.pad_id,
        cls_token_id=tokenizer.cls_id,
        sep_token_id=tokenizer.sep_id,
    )


def build_rtd(config: PretrainConfig, tokenizer: Tokenizer) -> ReplacedTokenDetection:
    """Build both networks with weights drawn from the run's seed, sharing what the config says."""
    disc_config = discriminator_config(config.model, tokenizer)
    gen_config = generator_config(
        disc_config,
        hidden_ratio=config.model.generator_hidden_ratio,
        layer_ratio=config.model.generator_layer_ratio,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        discriminator, generator = build_discriminator(disc_config), build_generator(gen_config)
        if config.model.head_init == "normal" and isinstance(discriminator, ElectraForPreTraining):
            initialize_electra(discriminator.discriminator_predictions, discriminator.config)
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


@torch.no_grad()
def start_from_neighbours(rtd: ReplacedTokenDetection, shards: ShardFolder) -> None:
    """Give the token embeddings of both networks vectors of co-occurrence, in place.

    They get the length that random values have on average; special tokens and tokens that do not occur keep theirs.

    Args:
        rtd: Networks before the first step.
        shards: What they will be trained on; the first 16 million tokens are counted.
    """
    tables = [rtd.discriminator.body.word_embeddings.weight, rtd.generator.body.word_embeddings.weight]
    vocab_size = tables[0].shape[0]
    counts = count_neighbours(shards.stream("train", max_tokens=_COUNTED_TOKENS), vocab_size=vocab_size)
    counts[rtd.special_ids.cpu().numpy()] = 0
    occurs = torch.from_numpy(counts.any(axis=1))
    for table in tables:
        size = table.shape[1]
        vectors = neighbour_vectors(counts, size=size) * (rtd.discriminator.config.initializer_range * size**0.5)
        table[occurs] = vectors[occurs].to(table)


def to_inputs(rows: Rows, device: torch.device, *, isolate_documents: bool = False) -> Inputs:
    """Turn rows of ids into a network's inputs; no mask where all rows are full.

    Args:
        rows: From a shard folder.
        device: Where the tensors go.
        isolate_documents: Whether attention stays within a document.
    """
    input_ids = torch.from_numpy(rows.input_ids)
    lengths = torch.from_numpy(rows.lengths)
    length = input_ids.shape[1]
    attention_mask = None if bool((lengths == length).all()) else torch.arange(length) < lengths[:, None]
    return Inputs(
        input_ids=input_ids.to(device, non_blocking=True),
        attention_mask=None if attention_mask is None else attention_mask.to(device, non_blocking=True),
        token_type_ids=None if rows.token_type_ids is None else torch.from_numpy(rows.token_type_ids).to(device),
        document_ids=torch.from_numpy(rows.document_ids).to(device) if isolate_documents else None,
    )
