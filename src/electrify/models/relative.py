"""Attention biases by distance: what a head adds to a score depends on how far from the query the key stands.

Near distances have a bucket each, farther ones share buckets whose width grows by a constant factor, up to a last one
(Raffel et al. 2020, T5, section 2.1 and its code). All layers use one table.
"""

import math

import torch
from torch import Tensor, nn

NUM_BUCKETS = 32
"""Half for keys before the query and itself, half for those after it."""
_FARTHEST = 128
"""Distances from here on share the last bucket."""


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
        table = self.relative_attention_bias
        places = torch.arange(num_tokens, device=table.weight.device)
        biases: Tensor = table(bucket_of(places - places[:, None]))  # (T, T, A)
        return biases.permute(2, 0, 1)[None]


def bucket_of(offset: Tensor) -> Tensor:
    """Return the number of the bucket of each offset, in [0, NUM_BUCKETS).

    Args:
        offset: Place of the key less that of the query, integers of any shape.
    """
    half = NUM_BUCKETS // 2
    exact = half // 2
    distance = offset.abs()
    share = (distance.clamp(min=exact).float() / exact).log() / math.log(_FARTHEST / exact)  # 0 at `exact`
    coarse = (exact + (share * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance < exact, distance, coarse) + half * (offset > 0)
