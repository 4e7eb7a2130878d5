"""From a run's config to the configs of its networks."""

from electrify.config import ModelConfig
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError
from electrify.models.electra import ElectraConfig
from electrify.models.heads import BodyConfig
from electrify.models.modernbert import ModernBertConfig
from electrify.models.t5_config import T5Config

SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))
"""What stands for hidden spans in T5's texts, by the published names."""


def encoder_config(model: ModelConfig, tokenizer: Tokenizer) -> BodyConfig:
    """Return the published config of the network that is fine-tuned later: of a pair, the discriminator.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    _check_heads(model)
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


def t5_config(model: ModelConfig, tokenizer: Tokenizer) -> T5Config:
    """Return the published config of an encoder-decoder whose vocabulary is a tokenizer's, sentinels included.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    _check_heads(model)
    if model.embedding_size not in (None, model.hidden_size):
        raise ConfigError(
            f"model.embedding_size = {model.embedding_size}: T5 has embeddings as wide as hidden_size "
            f"({model.hidden_size}); leave it out."
        )
    is_tied = model.output_matrix == "tied"
    return T5Config(
        vocab_size=tokenizer.vocab_size,
        d_model=model.hidden_size,
        d_kv=model.hidden_size // model.num_heads,
        d_ff=model.intermediate_size,
        num_layers=model.num_layers,
        num_decoder_layers=max(1, round(model.num_layers * model.decoder_layer_ratio)),
        num_heads=model.num_heads,
        dropout_rate=model.dropout,
        feed_forward_proj=model.feed_forward,
        tie_word_embeddings=is_tied,
        scale_decoder_outputs=is_tied,
        n_positions=model.max_positions,
        pad_token_id=tokenizer.pad_id,
        eos_token_id=tokenizer.sep_id,
        decoder_start_token_id=tokenizer.pad_id,
    )


def _check_heads(model: ModelConfig) -> None:
    if model.hidden_size % model.num_heads:
        raise ConfigError(
            f"model.num_heads = {model.num_heads} does not divide model.hidden_size = {model.hidden_size}."
        )
