"""Operations that a training step can not do without, counted from the sizes of the networks.

A multiplication and an addition are two operations. Matrix products alone count: projections, attention, feed-forward
parts, heads, and the vocabulary at the masked positions. The backward pass is twice the forward pass. ELECTRA-Small at
128 tokens and vocabulary 30,522 comes to 70.2 million operations a token.
"""

from electrify.models.heads import BodyConfig
from electrify.models.modernbert import FULL, ModernBertConfig

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
    gen = _body(generator, num_attended) + masked_share * _generator_head(generator)
    return _FORWARD_AND_BACKWARD * (gen + encoder_operations(discriminator, num_attended=num_attended))


def encoder_operations(discriminator: BodyConfig, *, num_attended: float) -> float:
    """Return the operations of a discriminator's forward pass for each token."""
    size = discriminator.hidden_size
    return _body(discriminator, num_attended) + 2 * size * size + 2 * size


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


def _body(config: BodyConfig, num_attended: float) -> float:
    size, inner = config.hidden_size, config.intermediate_size
    projections = 4 * 2 * size * size  # query, key, value, output
    if isinstance(config, ModernBertConfig):
        layers = 0.0
        for kind in config.attention_types:
            attended = num_attended if kind == FULL else min(num_attended, config.local_attention + 1)
            layers += projections + 3 * 2 * size * inner + 2 * 2 * attended * size
        return layers
    layer = projections + 2 * 2 * size * inner + 2 * 2 * num_attended * size
    narrow = config.embedding_size
    return config.num_hidden_layers * layer + (2 * narrow * size if narrow != size else 0)


def _generator_head(config: BodyConfig) -> float:
    width = config.hidden_size if isinstance(config, ModernBertConfig) else config.embedding_size
    return 2 * config.hidden_size * width + 2 * width * config.vocab_size
