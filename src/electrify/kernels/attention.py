"""Softmax attention from the joint product of queries, keys and values, without a (T, T) matrix in memory."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from electrify.kernels.library import call, pointer


class _Arguments(ctypes.Structure):
    """`AttentionArguments` of attention.cpp, field by field."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("rows", "tokens", "heads", "head_size", "window", "site")),
        ("drop_prob", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("qkv", "bias", "cos", "sin", "segments", "keys", "context", "log_sums")),
        *((name, ctypes.c_void_p) for name in ("context_grad", "qkv_grad", "bias_grad")),
        ("threads", ctypes.c_int),
        ("causal", ctypes.c_void_p),
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
) -> Tensor:
    """Mix the values of each head by how well keys fit queries; scores are divided by √D.

    Args:
        joint: Queries, keys and values of all heads side by side, (B, T, 3H) bfloat16.
        num_heads: A; H = A · D.
        bias: Added to `joint`, (3H,); None adds nothing.
        rotation: Cosines and sines by which positions turn queries and keys, each (T, D / 2) float32.
        segments: Tokens look only at tokens with their number, (B, T) int32; None means at all.
        window: How many positions to each side a token may look; None means all.
        causal: Rows in which tokens look only at themselves and before, in a window at so many in all, (B,) uint8.
        keys: Dropout keys, (B,) int64; None drops nothing.
        drop_prob: Share of the probabilities that is dropped.
        site: Number of the place for dropout.

    Returns:
        (B, T, H) bfloat16.
    """
    keys = keys if drop_prob > 0 else None
    turn = (None, None) if rotation is None else rotation
    offset = None if bias is None else bias.float()
    settings = num_heads, -1 if window is None else window, drop_prob, site
    result: Tensor = _Attend.apply(  # type: ignore[no-untyped-call]
        joint.bfloat16().contiguous(), offset, *turn, segments, causal, keys, settings
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
        settings: tuple[int, int, float, int],
    ) -> Tensor:
        rows, tokens, triple = joint.shape
        context = joint.new_empty(rows, tokens, triple // 3)
        log_sums = joint.new_empty(rows, settings[0], tokens, dtype=torch.float32)
        arguments = _arguments(joint, bias, cos, sin, segments, causal, keys, settings, context, log_sums)
        call("attention_bf16", ctypes.byref(arguments))
        ctx.save_for_backward(joint, bias, cos, sin, segments, causal, keys, context, log_sums)
        ctx.settings = settings
        return context

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        joint, bias, cos, sin, segments, causal, keys, context, log_sums = ctx.saved_tensors
        joint_grad = torch.empty_like(joint)
        bias_grad = None if bias is None else torch.empty_like(bias)
        context_grad = gradients[0].contiguous()
        arguments = _arguments(joint, bias, cos, sin, segments, causal, keys, ctx.settings, context, log_sums)
        arguments.context_grad = pointer(context_grad)
        arguments.qkv_grad = pointer(joint_grad)
        arguments.bias_grad = pointer(bias_grad)
        call("attention_backward_bf16", ctypes.byref(arguments))
        return joint_grad, bias_grad, None, None, None, None, None, None


def _arguments(
    joint: Tensor,
    bias: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    segments: Tensor | None,
    causal: Tensor | None,
    keys: Tensor | None,
    settings: tuple[int, int, float, int],
    context: Tensor,
    log_sums: Tensor,
) -> _Arguments:
    rows, tokens, triple = joint.shape
    num_heads, window, drop_prob, site = settings
    sizes = rows, tokens, num_heads, triple // 3 // num_heads
    pointers = (pointer(one) for one in (joint, bias, cos, sin, segments, keys, context, log_sums))
    threads = torch.get_num_threads()
    return _Arguments(*sizes, window, site, drop_prob, *pointers, None, None, None, threads, pointer(causal))
