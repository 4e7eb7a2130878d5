"""From a run's config to the configs of its networks."""

from electrify.config import ModelConfig
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError
from electrify.models.electra import ElectraConfig
from electrify.models.heads import BodyConfig
from electrify.models.modernbert import ModernBertConfig


def encoder_config(model: ModelConfig, tokenizer: Tokenizer) -> BodyConfig:
    """Return the published config of the network that is fine-tuned later: of a pair, the discriminator.

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
            attention_gate=model.attention_gate,
            relative_bias=model.relative_bias,
        )
    if model.relative_bias:
        raise ConfigError(
            "model.relative_bias = true: the modernbert body knows distances by its rotary positions; leave it out."
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
        global_rope_theta=model.global_rope_theta,
        local_rope_theta=model.local_rope_theta,
        attention_gate=model.attention_gate,
        classifier_pooling="mean",  # nothing in this objective makes [CLS] a summary of its row
        global_attn_every_n_layers=model.global_attention_every,
        pad_token_id=tokenizer.pad_id,
        cls_token_id=tokenizer.cls_id,
        sep_token_id=tokenizer.sep_id,
    )
