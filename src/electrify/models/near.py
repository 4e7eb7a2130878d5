"""Attention to near tokens in blocks, so that its time and memory grow with the length and not with its square.

Queries are cut into blocks of W tokens, W not less than the window; each block reads the keys of its own block and of
the one to either side, of which a bias leaves the window (as Longformer's chunks, Beltagy et al. 2020, section 3.1).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.models.inputs import Inputs

_SMALLEST_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the rows of a batch are cut, and who may look at whom within a block."""

    size: int
    """W."""
    bias: Tensor
    """Added to the scores, (B·N, 1, W, 3W) for N blocks a row."""


def near_blocks(inputs: Inputs, dtype: torch.dtype, *, window: int) -> Blocks | None:
    """Return how to cut the rows; None where the whole rows are hardly longer than three blocks, or some are causal.

    Args:
        inputs: The batch.
        dtype: Type of the scores.
        window: How many positions to each side a token may look.
    """
    rows, tokens = inputs.input_ids.shape
    size = max(window, _SMALLEST_BLOCK)
    if tokens <= 4 * size or inputs.is_causal:
        return None
    num_blocks = -(-tokens // size)
    own = torch.arange(size, device=inputs.input_ids.device)
    shift = torch.arange(-size, 2 * size, device=inputs.input_ids.device)  # of a key, from its block's first token
    distance = (shift - own[:, None])[None, None]  # (1, 1, W, 3W)
    positions = torch.arange(num_blocks, device=shift.device)[:, None] * size + shift  # (N, 3W)
    is_there = ((positions >= 0) & (positions < tokens))[None, :, None, :]
    allowed = (distance.abs() <= window) & is_there  # (1, N, W, 3W)
    segments = inputs.segments()
    if segments is not None:
        theirs = F.pad(segments, (size, num_blocks * size - tokens + size), value=-2).unfold(1, 3 * size, size)
        mine = theirs[:, :, size : 2 * size]  # (B, N, W)
        allowed = allowed & (mine[..., None] == theirs[:, :, None, :])
    allowed = allowed | (distance == 0)  # what fills up the last block looks at itself, so no NaN appears
    bias = torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)
    return Blocks(size, bias.expand(rows, -1, -1, -1).reshape(rows * num_blocks, 1, size, 3 * size))


def cut_queries(query: Tensor, size: int) -> Tensor:
    """Return queries by block, (B, A, T, D) -> (B·N, A, W, D)."""
    rows, heads, tokens, head_size = query.shape
    num_blocks = -(-tokens // size)
    filled = F.pad(query, (0, 0, 0, num_blocks * size - tokens)).view(rows, heads, num_blocks, size, head_size)
    return filled.transpose(1, 2).reshape(rows * num_blocks, heads, size, head_size)


def cut_keys(key: Tensor, size: int) -> Tensor:
    """Return for each block the keys, or values, that it may read, (B, A, T, D) -> (B·N, A, 3W, D)."""
    rows, heads, tokens, head_size = key.shape
    num_blocks = -(-tokens // size)
    filled = F.pad(key, (0, 0, size, num_blocks * size - tokens + size))
    windows = filled.unfold(2, 3 * size, size)  # (B, A, N, D, 3W)
    return windows.permute(0, 2, 1, 4, 3).reshape(rows * num_blocks, heads, 3 * size, head_size)


def join_blocks(context: Tensor, *, rows: int, tokens: int) -> Tensor:
    """Return what blocks came to as rows, (B·N, A, W, D) -> (B, A, T, D)."""
    _, heads, size, head_size = context.shape
    blocks = context.view(rows, -1, heads, size, head_size).transpose(1, 2)  # (B, A, N, W, D)
    return blocks.reshape(rows, heads, -1, head_size)[:, :, :tokens]
