"""What the generator and the network beside it have in common.

Source: Clark et al. 2020 (ELECTRA), section 3.2: sharing helps because the generator's softmax updates every row of the
table, the discriminator only those it meets. The original shares the whole block: words, positions, types and norm.
With networks of one width the layers can be shared too (the paper tried it for equal sizes, and found it as good as
sharing embeddings); on small budgets the discriminator then starts from what the generator has learned.
"""

import torch
from torch import nn

from electrify.errors import ConfigError
from electrify.models.heads import Discriminator, Generator, Network, body_of
from electrify.objectives.disentangled import DisentangledEmbedding

_WORD_TABLES = {"ElectraModel": "word_embeddings", "ModernBertModel": "tok_embeddings"}


def share_embeddings(
    generator: Generator, discriminator: Discriminator | Generator, kind: str, *, keeps_values: bool = False
) -> None:
    """Make the generator use the discriminator's embeddings, in place; its output matrix follows its word table.

    Args:
        generator: Changed.
        discriminator: Keeps its own; or an encoder that stands in its place.
        kind: "none", "word" (the word table), "all" (the whole block) or "gdes": it is the discriminator that changes,
            to the generator's word table plus a difference; see `DisentangledEmbedding`.
        keeps_values: gdes: whether the difference starts at what the tables differ by, not at zero.

    Raises:
        ConfigError: If the tables have different widths, as in a modernbert generator narrower than its discriminator.
    """
    if kind == "none":
        return
    table = discriminator.body.word_embeddings
    mine, theirs = generator.body.word_embeddings.weight, table.weight
    if mine.shape != theirs.shape:
        raise ConfigError(
            f'model.embedding_sharing = "{kind}" needs embeddings of one width, the generator has {mine.shape[1]} and '
            f"the discriminator {theirs.shape[1]}. Set model.generator_hidden_ratio = 1.0, or embedding_sharing = "
            '"none".'
        )
    name = _WORD_TABLES[type(generator.body).__name__]
    if kind == "gdes":
        followed = DisentangledEmbedding(generator.body.word_embeddings, padding_idx=table.padding_idx)
        if keeps_values:
            with torch.no_grad():
                followed.delta.copy_(theirs - mine)
        setattr(discriminator.body.embeddings, name, followed)
    elif kind == "all":
        generator.body.embeddings = discriminator.body.embeddings
    else:
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


def make_layers_alike(network: Network) -> None:
    """Give all layers of a network the weights of its first one, in place (ALBERT: Lan et al. 2020, section 3.1).

    What layers have that is no weight stays their own, such as whether they look everywhere; a first layer that lacks a
    norm, as in the modernbert body, leaves it to the second one to give.
    """
    for layer in body_of(network).blocks:
        for name, part in layer.named_children():
            if _has_weights(part):
                setattr(layer, name, _first_with_weights(network, name))


def layers_are_alike(network: Network) -> bool:
    """Return whether all layers of a network have equal weights."""
    return all(
        torch.equal(tensor, dict(_first_with_weights(network, part).named_parameters())[name])
        for layer in body_of(network).blocks
        for part, inside in layer.named_children()
        for name, tensor in inside.named_parameters()
    )


def _first_with_weights(network: Network, part: str) -> nn.Module:
    found: list[nn.Module] = [getattr(layer, part) for layer in body_of(network).blocks]
    return next(one for one in found if _has_weights(one))


def _has_weights(part: nn.Module) -> bool:
    return next(part.parameters(), None) is not None
