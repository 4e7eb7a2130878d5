"""Operations that a training step can not do without, counted from the sizes of the networks.

A multiplication and an addition are two operations. Matrix products alone count: projections, attention, feed-forward
parts, heads, and the vocabulary at the masked positions. The backward pass is twice the forward pass. ELECTRA-Small at
128 tokens and vocabulary 30,522 comes to 70.2 million operations a token.
"""

from electrify.models.heads import BodyConfig
from electrify.models.modernbert import FULL, ModernBertConfig
from electrify.models.t5_config import T5Config

_FORWARD_AND_BACKWARD = 3


def step_operations(
    generator: BodyConfig, discriminator: BodyConfig, *, num_attended: float, masked_share: float
) -> float:
    """Return the operations of a training step for each token.

    Args:
        generator: Sizes of the generator.
        discriminator: Sizes of the discriminator.
        num_attended: Tokens that a token attends to, on average.
        masked_share: Share of the tokens at which the generator predicts.
    """
    gen = body_operations(generator, num_attended) + masked_share * token_operations(generator)
    return _FORWARD_AND_BACKWARD * (gen + encoder_operations(discriminator, num_attended=num_attended))


def encoder_operations(discriminator: BodyConfig, *, num_attended: float) -> float:
    """Return the operations of a discriminator's forward pass for each token."""
    return body_operations(discriminator, num_attended) + judging_operations(discriminator)


def step_bytes(
    generator: BodyConfig, discriminator: BodyConfig, *, num_tokens: int, num_parameters: int, value_bytes: int = 2
) -> float:
    """Return the bytes that a training step can not but move between memory and processor.

    Every matrix product of the layers reads its input and writes its output once in the forward pass and twice in the
    backward pass; attention is fused, so that its scores stay in the cache. AdamW reads four and writes three float32
    values a parameter. What stays in a cache from one product to the next makes it less.

    Args:
        generator: Sizes of the generator.
        discriminator: Sizes of the discriminator.
        num_tokens: Tokens of a step.
        num_parameters: Of both networks, shared ones once.
        value_bytes: Of the matrix products' numbers.
    """
    values = sum(
        config.num_hidden_layers * (8 * config.hidden_size + 2 * config.intermediate_size)
        for config in (generator, discriminator)
    )
    return _FORWARD_AND_BACKWARD * value_bytes * float(values) * num_tokens + 7 * 4 * num_parameters


def body_operations(config: BodyConfig, num_attended: float, *, is_causal: bool = False) -> float:
    """Return the operations of a forward pass through a body for each token.

    Args:
        config: Its sizes.
        num_attended: Tokens of the row, of which each attends to all where attention is not local.
        is_causal: Whether a token attends to itself and those before it alone.
    """
    size, inner = config.hidden_size, config.intermediate_size
    projections = 4 * 2 * size * size  # query, key, value, output
    if config.attention_gate:
        projections += 2 * size * config.num_attention_heads
    if isinstance(config, ModernBertConfig):
        layers = 0.0
        for kind in config.attention_types:
            reach = config.local_attention // 2 if is_causal else config.local_attention + 1
            window = num_attended if kind == FULL else min(num_attended, reach)
            attended = _mean_before(num_attended, window) if is_causal else window
            layers += projections + 3 * 2 * size * inner + 2 * 2 * attended * size
        return layers
    attended = _mean_before(num_attended, num_attended) if is_causal else num_attended
    layer = projections + 2 * 2 * size * inner + 2 * 2 * attended * size
    narrow = config.embedding_size
    return config.num_hidden_layers * layer + (2 * narrow * size if narrow != size else 0)


def token_operations(config: BodyConfig) -> float:
    """Return the operations of scoring the vocabulary at one position."""
    return vector_operations(config) + vocabulary_operations(config)


def vector_operations(config: BodyConfig) -> float:
    """Return the operations from a hidden state to what is multiplied with the word table."""
    return 2.0 * config.hidden_size * _embedding_width(config)


def vocabulary_operations(config: BodyConfig) -> float:
    """Return the operations of one product with the word table."""
    return 2.0 * _embedding_width(config) * config.vocab_size


def judging_operations(config: BodyConfig) -> float:
    """Return the operations of a discriminator's head at one position."""
    return 2.0 * config.hidden_size * config.hidden_size + 2 * config.hidden_size


def t5_encoder_operations(config: T5Config, num_attended: float) -> float:
    """Return the operations of a forward pass through a T5 encoder for each token that it reads.

    Args:
        config: Its sizes.
        num_attended: Tokens that each attends to.
    """
    attention = 4 * 2 * config.d_model * config.inner_size + 2 * 2 * num_attended * config.inner_size
    return config.num_layers * (attention + _t5_feed_forward(config))


def t5_decoder_operations(config: T5Config, *, num_written: float, num_read: float) -> float:
    """Return the operations of a forward pass through a T5 decoder and its output matrix for each written token.

    Args:
        config: Its sizes.
        num_written: Tokens that are written, of which each attends to itself and those before it.
        num_read: Tokens of the encoder, to which each attends; their keys and values are counted too.
    """
    product = 2 * config.d_model * config.inner_size
    own = 4 * product + 2 * 2 * _mean_before(num_written, num_written) * config.inner_size
    other = (2 + 2 * num_read / num_written) * product + 2 * 2 * num_read * config.inner_size
    layers = config.decoder_layers * (own + other + _t5_feed_forward(config))
    return layers + 2 * config.d_model * config.vocab_size


def _t5_feed_forward(config: T5Config) -> float:
    return (3 if config.is_gated else 2) * 2.0 * config.d_model * config.d_ff


def _mean_before(length: float, window: float) -> float:
    """Return how many tokens, itself included, a token sees on average if it sees `window` of those before it."""
    if window >= length:
        return (length + 1) / 2
    return (window * (window + 1) / 2 + (length - window) * window) / length


def _embedding_width(config: BodyConfig) -> int:
    return config.hidden_size if isinstance(config, ModernBertConfig) else config.embedding_size
