"""The exact GELU behind a bias (BERT's feed-forward part) or in front of a gate (GeGLU), forward and backward."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from electrify.kernels.library import call, differentiated_once, dropout_keys
from electrify.kernels.unpadded import Unpadded, lines

_LANES = 16


def fits(size: int) -> bool:
    """Return whether the kernels take tokens of this size."""
    return size % _LANES == 0


def gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Return the GELU of x + bias.

    Args:
        x: (…, F) bfloat16.
        bias: (F,).

    Returns:
        (…, F) bfloat16.
    """
    result: Tensor = _Gelu.apply(x.bfloat16().contiguous(), bias.float())  # type: ignore[no-untyped-call]
    return result


def gated_gelu(
    x: Tensor,
    *,
    keys: Tensor | None = None,
    drop_prob: float = 0.0,
    site: int = 0,
    layout: Unpadded | None = None,
) -> Tensor:
    """Return dropout(gelu(values) · gate) for x = [values, gate].

    Args:
        x: (B, T, 2F) bfloat16; (N, 2F) if there is a layout, as the result.
        keys: Dropout keys, (B,) int64; None drops nothing.
        drop_prob: Share dropped.
        site: Number of the place for dropout.
        layout: Where the tokens stand in rows; None means that x has them all.

    Returns:
        (B, T, F) bfloat16.
    """
    keys = dropout_keys(keys, drop_prob)
    result: Tensor = _GatedGelu.apply(  # type: ignore[no-untyped-call]
        x.bfloat16().contiguous(), keys, drop_prob, site, layout
    )
    return result


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        out = torch.empty_like(x)
        sizes = ctypes.c_long(x[..., 0].numel()), ctypes.c_long(x.shape[-1])
        call("gelu_bf16", x, bias, out, *sizes, torch.get_num_threads())
        ctx.save_for_backward(x, bias)
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, bias = ctx.saved_tensors
        x_grad, bias_grad = torch.empty_like(x), torch.empty_like(bias)
        sizes = ctypes.c_long(x[..., 0].numel()), ctypes.c_long(x.shape[-1])
        threads = torch.get_num_threads()
        call("gelu_backward_bf16", gradients[0].contiguous(), x, bias, x_grad, bias_grad, *sizes, threads)
        return x_grad, bias_grad


class _GatedGelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, keys: Tensor | None, drop_prob: float, site: int, layout: Unpadded | None
    ) -> Tensor:
        size = x.shape[-1] // 2
        out = x.new_empty(*x.shape[:-1], size)
        ctx.places = ctypes.c_long(site), ctypes.c_double(drop_prob), *lines(x, layout)
        ctx.sizes = ctypes.c_long(x[..., 0].numel()), ctypes.c_long(size)
        call("gated_gelu_bf16", x, keys, *ctx.places, out, *ctx.sizes, torch.get_num_threads())
        ctx.save_for_backward(x, keys)
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, keys = ctx.saved_tensors
        x_grad = torch.empty_like(x)
        given = gradients[0].contiguous(), x, keys, *ctx.places
        call("gated_gelu_backward_bf16", *given, x_grad, *ctx.sizes, torch.get_num_threads())
        return x_grad, None, None, None, None
