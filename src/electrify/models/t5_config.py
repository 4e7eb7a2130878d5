"""Sizes and settings of T5 networks, with the published names."""

from dataclasses import dataclass

from electrify.errors import ConfigError
from electrify.models import limits

RELU, GATED_GELU = "relu", "gated-gelu"
"""Feed-forward parts, as published configs name them: T5's and T5 v1.1's (its GELU is the tanh approximation)."""


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """Sizes and settings of an encoder-decoder, with the published names and defaults (t5-small's).

    Raises:
        ConfigError: If a value is out of range or does not fit another.
    """

    vocab_size: int = 32128
    d_model: int = 512
    """Width of the residual stream."""
    d_kv: int = 64
    """Width of each attention head; the heads together may be wider or narrower than the stream."""
    d_ff: int = 2048
    """Width of the feed-forward parts, behind their gate if they have one."""
    num_layers: int = 6
    """Of the encoder."""
    num_decoder_layers: int | None = None
    """As many as the encoder's if None."""
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    """Classes of distances between tokens, each with a bias for each head."""
    relative_attention_max_distance: int = 128
    """Distances from here on are in one class."""
    dropout_rate: float = 0.1
    """Of hidden units and attention weights."""
    classifier_dropout: float = 0.0
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    """Scales all first values."""
    feed_forward_proj: str = RELU
    """"relu" (T5) or "gated-gelu" (T5 v1.1)."""
    tie_word_embeddings: bool = True
    """Whether the output matrix is the word table (T5) or one of its own (T5 v1.1)."""
    scale_decoder_outputs: bool = True
    """Whether what the output matrix reads is divided by √d_model (T5); only a tied one can be so."""
    n_positions: int = 512
    """Longest row it is meant for, in tokens; nothing is sized by it."""
    pad_token_id: int = 0
    eos_token_id: int = 1
    decoder_start_token_id: int = 0

    def __post_init__(self) -> None:
        limits.check_sizes(
            vocab_size=self.vocab_size,
            d_model=self.d_model,
            d_kv=self.d_kv,
            d_ff=self.d_ff,
            num_heads=self.num_heads,
            num_hidden_layers=self.num_layers,
            n_positions=self.n_positions,
            relative_attention_num_buckets=self.relative_attention_num_buckets,
            relative_attention_max_distance=self.relative_attention_max_distance,
        )
        limits.check_sizes(
            num_hidden_layers=self.num_layers if self.num_decoder_layers is None else self.decoder_layers
        )
        limits.check_matrix("The word embedding", self.vocab_size, self.d_model)
        limits.check_matrix("A feed-forward matrix", self.d_ff, self.d_model)
        limits.check_matrix("An attention matrix", self.inner_size, self.d_model)
        limits.check_matrix("The table of distances", self.relative_attention_num_buckets, self.num_heads)
        limits.check_shares(dropout_rate=self.dropout_rate, classifier_dropout=self.classifier_dropout)
        limits.check_positive(layer_norm_epsilon=self.layer_norm_epsilon, initializer_factor=self.initializer_factor)
        for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
            limits.check_token_id(name, getattr(self, name), vocab_size=self.vocab_size)
        self._check_forms()

    def _check_forms(self) -> None:
        if self.feed_forward_proj not in (RELU, GATED_GELU):
            raise ConfigError(f"feed_forward_proj must be '{RELU}' or '{GATED_GELU}', got {self.feed_forward_proj!r}.")
        for name in ("tie_word_embeddings", "scale_decoder_outputs"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        if self.scale_decoder_outputs and not self.tie_word_embeddings:
            raise ConfigError("scale_decoder_outputs needs tie_word_embeddings; an output matrix of its own has none.")
        # Half of the classes are for each side in the encoder, half of those for exact distances.
        exact = self.relative_attention_num_buckets // 2
        if self.relative_attention_num_buckets % 4 or self.relative_attention_max_distance <= exact:
            raise ConfigError(
                "relative_attention_num_buckets must be a multiple of 4 and less than twice "
                f"relative_attention_max_distance, got {self.relative_attention_num_buckets} and "
                f"{self.relative_attention_max_distance}."
            )

    @property
    def is_gated(self) -> bool:
        """Whether feed-forward parts have a gate."""
        return self.feed_forward_proj == GATED_GELU

    @property
    def decoder_layers(self) -> int:
        """Layers of the decoder."""
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers

    @property
    def inner_size(self) -> int:
        """Width of all attention heads together."""
        return self.num_heads * self.d_kv

    # What the other bodies call the same.

    @property
    def own_parts(self) -> tuple[str, ...]:
        """Parts that no published class has: none."""
        return ()

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream, H."""
        return self.d_model

    @property
    def num_hidden_layers(self) -> int:
        """Layers of the encoder, L."""
        return self.num_layers

    @property
    def num_attention_heads(self) -> int:
        """Heads, A."""
        return self.num_heads

    @property
    def intermediate_size(self) -> int:
        """Width of the feed-forward parts."""
        return self.d_ff

    @property
    def max_position_embeddings(self) -> int:
        """Longest row it is meant for, in tokens."""
        return self.n_positions

    @property
    def initializer_range(self) -> float:
        """Standard deviation of the word table's first values."""
        return self.initializer_factor
