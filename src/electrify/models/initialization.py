"""First values of parameters, drawn from torch's global generator: seed it before a network is built."""

import torch
from torch import Tensor, nn


def truncated_normal(module: nn.Linear | nn.Embedding, *, std: float, cutoff: float = 2.0) -> None:
    """Draw a layer's matrix from a normal distribution cut off on both sides; its bias becomes 0.

    Args:
        module: The layer, changed in place.
        std: Standard deviation before the cut.
        cutoff: Where to cut, in standard deviations.
    """
    nn.init.trunc_normal_(module.weight, std=std, a=-cutoff * std, b=cutoff * std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


@torch.no_grad()
def match_keys(queries: Tensor, keys: Tensor, *, num_heads: int, score: float) -> None:
    """Give half of the heads one matrix for queries and keys, so that equal tokens look at each other from the start.

    Without, a network has to find out by training that a word stands elsewhere in its row too. Trockman and Kolter
    2023 (arXiv 2305.09828) begin with products of the two near the identity for a like reason.

    Args:
        queries: New matrix whose values are kept up to a factor, (H, H), changed in place.
        keys: (H, H), gets the same values in the first half of the heads; of one head, in all.
        num_heads: Heads that attend separately.
        score: Expected score of a normed vector, of length √H, with itself, before the softmax.
    """
    width = queries.shape[1]
    head_size = width // num_heads
    rows = slice(0, max(1, num_heads // 2) * head_size)
    std = (score / (width * head_size**0.5)) ** 0.5  # as a score is std² · H · D / √D
    queries[rows] *= std / queries[rows].square().mean().sqrt()
    keys[rows] = queries[rows]
