"""First values of a run's token embeddings: how long they are, and where they come from."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from electrify.config import ModelConfig
from electrify.data.cooccurrence import count_neighbours, neighbour_vectors, without_tokens
from electrify.data.shards import ShardFolder
from electrify.models.heads import Network, body_of
from electrify.models.t5_config import T5Config

_COUNTED_TOKENS = 16_000_000


@torch.no_grad()
def start_embeddings(networks: Sequence[Network], shards: ShardFolder, config: ModelConfig) -> None:
    """Give the token embeddings of new networks the values that a config asks for, in place.

    Args:
        networks: Those of an objective before the first step, with the random values of their bodies.
        shards: What they will be trained on; for co-occurrence its first 16 million tokens are counted.
        config: `embedding_std` and `embedding_init` count.
    """
    tables = list(_tables(networks, config.embedding_std))
    if config.embedding_init == "cooccurrence":
        _set_vectors(tables, shards)


def _tables(networks: Sequence[Network], new_std: float | None) -> Iterable[tuple[nn.Parameter, float]]:
    """Give each word table the standard deviation that is asked for, and yield it once with what it then has."""
    seen = set()
    for network in networks:
        table = body_of(network).word_embeddings.weight
        if isinstance(table, nn.Parameter) and id(table) not in seen:  # a disentangled one follows another's
            seen.add(id(table))
            std = network.config.initializer_range
            if new_std is not None and not isinstance(network.config, T5Config):  # whose output is scaled for its own
                table.mul_(new_std / std)
                std = new_std
            yield table, std


def _set_vectors(tables: Sequence[tuple[nn.Parameter, float]], shards: ShardFolder) -> None:
    """Write vectors as long as random ones of such a deviation; special and absent tokens keep what they have."""
    tokenizer = shards.tokenizer()
    counts = count_neighbours(shards.stream("train", max_tokens=_COUNTED_TOKENS), vocab_size=tokenizer.vocab_size)
    counts = without_tokens(counts, tokenizer.special_ids)
    occurs = torch.from_numpy(counts.sum(axis=1) > 0)
    vectors = {size: neighbour_vectors(counts, size=size) for size in sorted({table.shape[1] for table, _ in tables})}
    for table, std in tables:
        size = table.shape[1]
        scaled = vectors[size] * (std * size**0.5)
        of_data = table[: len(occurs)]  # a table may have more tokens than the data, such as sentinels
        of_data[occurs] = scaled[occurs].to(table)
