"""A linear map without bias whose weight stays in float32, and so does the weight's gradient."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from electrify.kernels.library import call


def fits(weight: Tensor) -> bool:
    """Return whether the kernel takes a weight of these sizes."""
    return weight.shape[0] % 16 == 0 and weight.shape[1] % 16 == 0


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return x · weightᵀ.

    Args:
        x: (…, I).
        weight: (O, I) float32 or bfloat16.

    Returns:
        (…, O) bfloat16.
    """
    result: Tensor = _Linear.apply(x.bfloat16(), weight)  # type: ignore[no-untyped-call]
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        cast = weight.bfloat16()
        ctx.save_for_backward(x, cast)
        ctx.dtype = weight.dtype
        return torch.mm(x.reshape(-1, x.shape[-1]), cast.T).view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, cast = ctx.saved_tensors
        out_size, in_size = cast.shape
        out_grad = gradients[0].reshape(-1, out_size).contiguous()
        x_grad = torch.mm(out_grad, cast).view(x.shape) if ctx.needs_input_grad[0] else None
        weight_grad = None
        if ctx.needs_input_grad[1]:
            flat = x.reshape(-1, in_size).contiguous()
            weight_grad = x.new_empty(out_size, in_size, dtype=torch.float32)
            outer_products(out_grad, flat, into=weight_grad)
            weight_grad = weight_grad.to(ctx.dtype)
        return x_grad, weight_grad


def outer_products(left: Tensor, right: Tensor, *, into: Tensor, accumulate: bool = False) -> None:
    """Compute leftᵀ · right in float32.

    Args:
        left: (N, O) bfloat16, contiguous.
        right: (N, I) bfloat16, contiguous; I is a multiple of 16.
        into: (O, I) float32; filled in.
        accumulate: Whether the result is added to what is there.
    """
    if not accumulate and not len(left):  # the kernel writes nothing where there are no tokens
        into.zero_()
    sizes = map(ctypes.c_long, (len(left), left.shape[1], right.shape[1]))
    call("weight_grad_bf16", left, right, into, *sizes, int(accumulate), torch.get_num_threads())
