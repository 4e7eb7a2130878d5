"""A first guess at the token embeddings of a run: which tokens stand near which in its data."""

from collections.abc import Sequence

import torch

from electrify.data.cooccurrence import count_neighbours, neighbour_vectors, without_tokens
from electrify.data.shards import ShardFolder
from electrify.models.heads import Network, body_of

_COUNTED_TOKENS = 16_000_000


@torch.no_grad()
def start_from_neighbours(networks: Sequence[Network], shards: ShardFolder) -> None:
    """Give the token embeddings of networks vectors of co-occurrence, in place.

    They get the length that random values have on average; special tokens and tokens that do not occur keep theirs.

    Args:
        networks: Those of an objective before the first step.
        shards: What they will be trained on; the first 16 million tokens are counted.
    """
    tokenizer = shards.tokenizer()
    counts = count_neighbours(shards.stream("train", max_tokens=_COUNTED_TOKENS), vocab_size=tokenizer.vocab_size)
    counts = without_tokens(counts, tokenizer.special_ids)
    occurs = torch.from_numpy(counts.sum(axis=1) > 0)
    tables = {network: body_of(network).word_embeddings.weight for network in networks}
    vectors = {
        size: neighbour_vectors(counts, size=size) for size in sorted({table.shape[1] for table in tables.values()})
    }
    for network, table in tables.items():
        size = table.shape[1]
        scaled = vectors[size] * (network.config.initializer_range * size**0.5)
        table[occurs] = scaled[occurs].to(table)
