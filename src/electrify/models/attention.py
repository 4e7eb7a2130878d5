"""Softmax attention, computed in the way that is fastest where it runs.

On a CPU in bfloat16 a compiled kernel does it where there is one (`electrify.kernels`). The built-in fused attention is
the choice almost everywhere else; on a CPU in bfloat16 it took 4.3 times as long, forward and backward, as plain
batched products (`docs/log.md`; torch 2.13, two threads). It also draws its dropout from a generator's
state, so active dropout takes the plain way too. On a GPU in 16 bits, rows of several documents, padding and windows go
to the variable-length kernel, which does no work for what is masked, unless they are read from left to right. Windows
in long rows are read in blocks elsewhere (`near`), unless probabilities are dropped or rows are causal.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from electrify import kernels
from electrify.kernels import attention as native
from electrify.kernels.unpadded import Unpadded, leave_out
from electrify.models.dropout import Dropout
from electrify.models.inputs import Inputs
from electrify.models.near import Blocks, cut_keys, cut_queries, join_blocks, near_blocks

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines of the positions' angles, each (T, D / 2) float32."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Who may look at whom, in the form that the attention of this pass reads."""

    is_native: bool
    """Whether the compiled kernel is used; it reads segments and window, torch reads the bias."""
    bias: Tensor | None = None
    """Added to the scores, broadcasts to (B, A, T, T); None adds nothing."""
    segments: Tensor | None = None
    """Tokens look only at tokens with their number, (B, T) int32; None means at all."""
    window: int | None = None
    """How many positions to each side a token may look; None means all."""
    causal: Tensor | None = None
    """Rows in which tokens look only at themselves and before, (B,) uint8; None if there are none or a bias says it."""
    blocks: Blocks | None = None
    """How long rows are cut where a window is narrow; the bias is then in it."""
    borders: Tensor | None = None
    """Where runs of tokens that look at each other begin in B·T, and B·T, int32: for the variable-length kernel."""
    layout: Unpadded | None = None
    """Where the layers' tokens stand, which are then (N, H), and the segments (N,); None means rows, (B, T, H)."""


def choose_layout(inputs: Inputs, hidden: Tensor, *, num_heads: int, head_size: int) -> Unpadded | None:
    """Return what layers work on where they can leave padding out: with the compiled kernels, for padding at the end.

    Args:
        inputs: The batch.
        hidden: What the layers would read, (B, T, H); says device and type.
        num_heads: A.
        head_size: D.
    """
    if inputs.attention_mask is None or inputs.keeps_padding:
        return None
    return leave_out(inputs.attention_mask) if kernels.serve(hidden) and native.fits(head_size, num_heads) else None


def attention_mask(
    inputs: Inputs,
    hidden: Tensor,
    *,
    num_heads: int,
    head_size: int,
    drop_prob: float,
    window: int | None = None,
    added: Tensor | None = None,
    layout: Unpadded | None = None,
) -> Mask:
    """Return who may look at whom in one kind of layer, and with that the way attention is computed.

    Args:
        inputs: The batch.
        hidden: What the layers read; says device and type.
        num_heads: A.
        head_size: D.
        drop_prob: Share of the probabilities that is dropped if the inputs carry keys.
        window: How many positions to each side a token may look; None means all.
        added: Added to the scores of all rows, (1, A, T, T); no kernel takes it, so it goes the plain way.
        layout: From `choose_layout` for the same network.
    """
    if added is not None:
        added, barred = added.to(score_dtype(hidden)), inputs.attention_bias(score_dtype(hidden), window=window)
        if barred is not None:  # not their sum, which may lie beyond the lowest number
            added = torch.where(barred < 0, barred, added)
        return Mask(is_native=False, bias=added)
    if layout is not None or (kernels.serve(hidden) and native.fits(head_size, num_heads)):
        causal = inputs.causal_rows() if inputs.is_causal else None
        if not inputs.is_causal and window is not None and inputs.input_ids.shape[1] - 1 <= window:
            window = None
        segments = inputs.segments() if layout is None else _unpadded_segments(inputs, layout)
        return Mask(is_native=True, segments=segments, window=window, causal=causal, layout=layout)
    if inputs.is_causal:  # which the variable-length kernel can not say of each row
        return Mask(is_native=False, bias=inputs.attention_bias(score_dtype(hidden), window=window))
    if window is not None and inputs.input_ids.shape[1] - 1 <= window:
        window = None
    drops = drop_prob > 0 and inputs.dropout_keys is not None
    if not drops and _has_varlen(hidden) and inputs.is_masked(window):
        return Mask(is_native=False, window=window, borders=inputs.borders())
    if window is not None and not drops:
        blocks = near_blocks(inputs, score_dtype(hidden), window=window)
        if blocks is not None:
            return Mask(is_native=False, window=window, blocks=blocks)
    return Mask(is_native=False, bias=inputs.attention_bias(score_dtype(hidden), window=window))


def _unpadded_segments(inputs: Inputs, layout: Unpadded) -> Tensor | None:
    """Return the documents of the real tokens, (N,) int32, or None: rows end where their padding began."""
    return None if inputs.document_ids is None else inputs.document_ids.flatten()[layout.places].int()


def score_dtype(x: Tensor) -> torch.dtype:
    """Return the type that attention scores of a network with input x will have: autocast's if it is on.

    Autocast leaves float64 as it is.
    """
    device = x.device.type
    is_cast = torch.is_autocast_enabled(device) and x.dtype != torch.float64
    return torch.get_autocast_dtype(device) if is_cast else x.dtype


def _has_varlen(x: Tensor) -> bool:
    return x.device.type == "cuda" and score_dtype(x) in (torch.bfloat16, torch.float16)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Mask,
    dropout: Dropout,
    keys: Tensor | None,
    scale: float | None = None,
) -> Tensor:
    """Mix the values by how well keys fit queries.

    Args:
        query: (B, A, T, D).
        key: (B, A, S, D); S = T where a row looks at itself.
        value: (B, A, S, D).
        mask: Who may look at whom; its bias is of the queries' type.
        dropout: Applied to the probabilities; never active where the mask has borders.
        keys: One dropout key a row, (B,) int64, or None for no dropout.
        scale: Factor on the scores, 1/√D if not given; never given where the mask has borders or blocks.

    Returns:
        (B, A, T, D).
    """
    if mask.borders is not None:
        return _varlen(query, key, value, mask.borders, mask.window)
    if mask.blocks is not None:
        rows, _, tokens, _ = query.shape
        size, inside = mask.blocks.size, Mask(is_native=False, bias=mask.blocks.bias)
        blocks = cut_queries(query, size), cut_keys(key, size), cut_keys(value, size)
        return join_blocks(attend(*blocks, mask=inside, dropout=dropout, keys=None), rows=rows, tokens=tokens)
    bias = mask.bias
    is_slow_fused = query.device.type == "cpu" and query.dtype == torch.bfloat16
    has_gradient = bias is not None and bias.requires_grad  # of which fused kernels know nothing
    if is_slow_fused or has_gradient or dropout.is_active(keys):
        return _plain(query, key, value, bias=bias, dropout=dropout, keys=keys, scale=scale)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)


def _plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    bias: Tensor | None,
    dropout: Dropout,
    keys: Tensor | None,
    scale: float | None,
) -> Tensor:
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scaled = query if factor == 1 else query * factor
    scores = torch.matmul(scaled, key.transpose(-1, -2))  # (B, A, T, S)
    if bias is not None:
        scores = scores + bias
    return torch.matmul(dropout(scores.softmax(-1), keys), value)


def _varlen(query: Tensor, key: Tensor, value: Tensor, borders: Tensor, window: int | None) -> Tensor:
    rows, heads, tokens, size = query.shape
    flat = [one.transpose(1, 2).reshape(rows * tokens, heads, size) for one in (query, key, value)]
    reach = (-1, -1) if window is None else (window, window)
    out: Tensor = _varlen_kernel()(*flat, borders, borders, tokens, tokens, window_size=reach)
    return out.view(rows, tokens, heads, size).transpose(1, 2)


def _varlen_kernel() -> Any:
    from torch.nn.attention import varlen  # it loads torch's compiler, which takes seconds

    return varlen.varlen_attn


def rotate(x: Tensor, turn: Rotation) -> Tensor:
    """Turn (…, T, D), whose pairs are elements i and i + D / 2, in float32; the result is contiguous."""
    cos, sin = turn
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
