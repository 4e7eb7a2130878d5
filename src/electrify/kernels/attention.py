"""Softmax attention from the joint product of queries, keys and values, without a (T, T) matrix in memory."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from electrify.kernels.library import call, differentiated_once, dropout_keys, pointer
from electrify.kernels.unpadded import Unpadded


class _Arguments(ctypes.Structure):
    """`AttentionArguments` of attention.cpp, field by field."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("rows", "tokens", "heads", "head_size", "window", "site")),
        ("drop_prob", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("qkv", "bias", "cos", "sin", "segments", "keys", "context", "log_sums")),
        *((name, ctypes.c_void_p) for name in ("context_grad", "qkv_grad", "bias_grad")),
        ("threads", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in ("causal", "begins")),
    )


_MAX_HEADS = 64  # what the dropout numbers of the kernel have room for


def fits(head_size: int, num_heads: int) -> bool:
    """Return whether the kernel takes so many heads of this size: pairs of them are whole vectors."""
    return head_size % 32 == 0 and num_heads <= _MAX_HEADS


def attend(
    joint: Tensor,
    *,
    num_heads: int,
    bias: Tensor | None = None,
    rotation: tuple[Tensor, Tensor] | None = None,
    segments: Tensor | None = None,
    window: int | None = None,
    causal: Tensor | None = None,
    keys: Tensor | None = None,
    drop_prob: float = 0.0,
    site: int = 0,
    layout: Unpadded | None = None,
) -> Tensor:
    """Mix the values of each head by how well keys fit queries; scores are divided by √D.

    Args:
        joint: Queries, keys and values of all heads side by side, (B, T, 3H) bfloat16; (N, 3H) if there is a
            layout, as the result.
        num_heads: A; H = A · D.
        bias: Added to `joint`, (3H,); None adds nothing.
        rotation: Cosines and sines by which positions turn queries and keys, each (T, D / 2) float32.
        segments: Tokens look only at tokens with their number, (B, T) int32, or (N,); None means at all.
        window: How many positions to each side a token may look; None means all.
        causal: Rows in which tokens look only at themselves and before, in a window at so many in all, (B,) uint8.
        keys: Dropout keys, (B,) int64; None drops nothing.
        drop_prob: Share of the probabilities that is dropped.
        site: Number of the place for dropout.
        layout: Where the tokens stand in rows; None means that `joint` has them all.

    Returns:
        (B, T, H) bfloat16.
    """
    keys = dropout_keys(keys, drop_prob)
    turn = (None, None) if rotation is None else rotation
    offset = None if bias is None else bias.float()
    settings = num_heads, -1 if window is None else window, drop_prob, site
    result: Tensor = _Attend.apply(  # type: ignore[no-untyped-call]
        joint.bfloat16().contiguous(), offset, *turn, segments, causal, keys, layout, settings
    )
    return result


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        joint: Tensor,
        bias: Tensor | None,
        cos: Tensor | None,
        sin: Tensor | None,
        segments: Tensor | None,
        causal: Tensor | None,
        keys: Tensor | None,
        layout: Unpadded | None,
        settings: tuple[int, int, float, int],
    ) -> Tensor:
        context = joint.new_empty(*joint.shape[:-1], joint.shape[-1] // 3)
        log_sums = joint.new_empty(*joint.shape[:-1], settings[0], dtype=torch.float32)
        given = joint, bias, cos, sin, segments, causal, keys, context, log_sums
        arguments = _arguments(*given, layout=layout, settings=settings)
        call("attention_bf16", ctypes.byref(arguments))
        ctx.save_for_backward(*given)
        ctx.layout, ctx.settings = layout, settings
        return context

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        joint, bias, *others = ctx.saved_tensors
        joint_grad = torch.empty_like(joint)
        bias_grad = None if bias is None else torch.empty_like(bias)
        context_grad = gradients[0].contiguous()
        arguments = _arguments(joint, bias, *others, layout=ctx.layout, settings=ctx.settings)
        arguments.context_grad = pointer(context_grad)
        arguments.qkv_grad = pointer(joint_grad)
        arguments.bias_grad = pointer(bias_grad)
        call("attention_backward_bf16", ctypes.byref(arguments))
        return joint_grad, bias_grad, None, None, None, None, None, None, None


def _arguments(
    joint: Tensor,
    bias: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    segments: Tensor | None,
    causal: Tensor | None,
    keys: Tensor | None,
    context: Tensor,
    log_sums: Tensor,
    *,
    layout: Unpadded | None,
    settings: tuple[int, int, float, int],
) -> _Arguments:
    rows, tokens = joint.shape[:2] if layout is None else (layout.num_rows, layout.num_tokens)
    num_heads, window, drop_prob, site = settings
    sizes = rows, tokens, num_heads, joint.shape[-1] // 3 // num_heads
    pointers = (pointer(one) for one in (joint, bias, cos, sin, segments, keys, context, log_sums))
    begins = None if layout is None else layout.begins
    last = torch.get_num_threads(), pointer(causal), pointer(begins)
    return _Arguments(*sizes, window, site, drop_prob, *pointers, None, None, None, *last)
