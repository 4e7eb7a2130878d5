"""Softmax attention, computed in the way that is fastest where it runs.

The built-in fused attention is the choice almost everywhere. On a CPU in bfloat16 it took 4.3 times as long,
forward and backward, as plain batched products (`benchmarks/kernels.py`; torch 2.13, two threads). It also draws
its dropout from a generator's state, so active dropout takes the plain way too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.models.dropout import Dropout


def score_dtype(x: Tensor) -> torch.dtype:
    """Return the type that attention scores of a network with input x will have: autocast's if it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, bias: Tensor | None, dropout: Dropout, keys: Tensor | None
) -> Tensor:
    """Mix the values by how well keys fit queries; scores are divided by √D.

    Args:
        query: (B, A, T, D).
        key: (B, A, T, D).
        value: (B, A, T, D).
        bias: Added to the scores, broadcasts to (B, A, T, T), of the queries' type; None adds nothing.
        dropout: Applied to the probabilities.
        keys: One dropout key a row, (B,) int64, or None for no dropout.

    Returns:
        (B, A, T, D).
    """
    is_slow_fused = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if is_slow_fused or dropout.is_active(keys):
        return _plain(query, key, value, bias=bias, dropout=dropout, keys=keys)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def _plain(
    query: Tensor, key: Tensor, value: Tensor, *, bias: Tensor | None, dropout: Dropout, keys: Tensor | None
) -> Tensor:
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))  # (B, A, T, T)
    if bias is not None:
        scores = scores + bias
    return torch.matmul(dropout(scores.softmax(-1), keys), value)
