"""Attention biases by distance: what a head adds to a score depends on how far from the query the key stands.

Near distances have a bucket each, farther ones share buckets whose width grows by a constant factor, up to a last one
(Raffel et al. 2020, T5, section 2.1 and its code). All layers use one table.
"""

import math

import torch
from torch import Tensor, nn

NUM_BUCKETS = 32
"""T5's number: half for keys before the query and itself, half for those after it."""
FARTHEST = 128
"""T5's distance from which on all share the last bucket."""


class RelativeBias(nn.Module):
    """A learned bias for each head and bucket of distances.

    Args:
        num_heads: A.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Embedding(NUM_BUCKETS, num_heads)

    def forward(self, num_tokens: int) -> Tensor:
        """Return what is added to the scores of rows of T tokens, (1, A, T, T)."""
        return bias_by_distance(self.relative_attention_bias, num_tokens)


def bias_by_distance(
    table: nn.Embedding, num_tokens: int, *, farthest: int = FARTHEST, looks_back: bool = False
) -> Tensor:
    """Return what distances add to the scores of rows of T tokens, (1, A, T, T).

    Args:
        table: A bias for each bucket and head, (buckets, A).
        num_tokens: T.
        farthest: As for `bucket_of`.
        looks_back: As for `bucket_of`.
    """
    distances = torch.arange(1 - num_tokens, num_tokens, device=table.weight.device)
    buckets = bucket_of(distances, num_buckets=table.num_embeddings, farthest=farthest, looks_back=looks_back)
    by_distance: Tensor = table(buckets).T  # (A, 2T - 1); query i reads the T values that begin at distance -i
    return by_distance.unfold(1, num_tokens, 1).flip(1)[None]


def bucket_of(
    distances: Tensor, *, num_buckets: int = NUM_BUCKETS, farthest: int = FARTHEST, looks_back: bool = False
) -> Tensor:
    """Return the number of the bucket of each distance, in [0, num_buckets).

    Args:
        distances: Place of the key less that of the query, integers of any shape.
        num_buckets: How many there are.
        farthest: The distance from which on all share the last bucket.
        looks_back: Whether all buckets are for keys before the query and itself, as in a decoder, which never looks
            ahead; if not, half of them are for keys after it.
    """
    if looks_back:
        first, lengths = torch.zeros_like(distances), (-distances).clamp(min=0)
    else:
        num_buckets //= 2
        first, lengths = num_buckets * (distances > 0), distances.abs()
    exact = num_buckets // 2
    growth = (lengths.clamp(min=exact).float() / exact).log() / math.log(farthest / exact)  # 0 at `exact`
    wide = (exact + (growth * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return first + torch.where(lengths < exact, lengths, wide)
