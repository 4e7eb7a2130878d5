"""What the generator and the network beside it have in common.

Source: Clark et al. 2020 (ELECTRA), section 3.2: sharing helps because the generator's softmax updates every row of the
table, the discriminator only those it meets. The original shares the whole block: words, positions, types and norm.
With networks of one width the layers can be shared too (the paper tried it for equal sizes, and found it as good as
sharing embeddings); on small budgets the discriminator then starts from what the generator has learned.
"""

from electrify.errors import ConfigError
from electrify.models.heads import Discriminator, Generator

_WORD_TABLES = {"ElectraModel": "word_embeddings", "ModernBertModel": "tok_embeddings"}


def share_embeddings(generator: Generator, discriminator: Discriminator | Generator, kind: str) -> None:
    """Make the generator use the discriminator's embeddings, in place; its output matrix follows its word table.

    Args:
        generator: Changed.
        discriminator: Keeps its own; or an encoder that stands in its place.
        kind: "none", "word" (the word table) or "all" (the whole block).

    Raises:
        ConfigError: If the tables have different widths, as in a modernbert generator narrower than its discriminator.
    """
    if kind == "none":
        return
    mine, theirs = generator.body.word_embeddings.weight, discriminator.body.word_embeddings.weight
    if mine.shape != theirs.shape:
        raise ConfigError(
            f'model.embedding_sharing = "{kind}" needs embeddings of one width, the generator has {mine.shape[1]} and '
            f"the discriminator {theirs.shape[1]}. Set model.generator_hidden_ratio = 1.0, or embedding_sharing = "
            '"none".'
        )
    if kind == "all":
        generator.body.embeddings = discriminator.body.embeddings
    else:
        name = _WORD_TABLES[type(generator.body).__name__]
        setattr(generator.body.embeddings, name, discriminator.body.word_embeddings)


def share_layers(generator: Generator, discriminator: Discriminator | Generator) -> None:
    """Make the generator's layers the discriminator's lowest ones, in place.

    Raises:
        ConfigError: If the networks differ in width.
    """
    mine, theirs = generator.config.hidden_size, discriminator.config.hidden_size
    if mine != theirs:
        raise ConfigError(
            f"model.share_layers needs networks of one width, the generator has {mine} and the discriminator {theirs}. "
            "Set model.generator_hidden_ratio = 1.0, or share_layers = false."
        )
    blocks = generator.body.blocks
    for index in range(len(blocks)):
        blocks[index] = discriminator.body.blocks[index]
