"""A linear map without bias whose weight stays in float32, and so does the weight's gradient."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from electrify.kernels.library import call, differentiated_once

_KINDS = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def fits(weight: Tensor) -> bool:
    """Return whether the kernel takes a weight of these sizes."""
    return weight.shape[0] % 16 == 0 and weight.shape[1] % 16 == 0


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return x · weightᵀ.

    Args:
        x: (…, I).
        weight: (O, I); float32 and bfloat16 are read as they are.

    Returns:
        (…, O) bfloat16.
    """
    kept = weight if weight.dtype in _KINDS else weight.float()
    result: Tensor = _Linear.apply(x.bfloat16(), kept)  # type: ignore[no-untyped-call]
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        weight = weight.contiguous()
        ctx.save_for_backward(x, weight)
        return _multiply(x.contiguous(), weight, is_forward=True)

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        out_grad = gradients[0].contiguous()
        x_grad = _multiply(out_grad, weight, is_forward=False) if ctx.needs_input_grad[0] else None
        weight_grad = None
        if ctx.needs_input_grad[1]:
            weight_grad = torch.empty_like(weight, dtype=torch.float32)
            outer_products(out_grad.flatten(0, -2), x.contiguous().flatten(0, -2), into=weight_grad)
            weight_grad = weight_grad.to(weight.dtype)
        return x_grad, weight_grad


def _multiply(x: Tensor, weight: Tensor, *, is_forward: bool) -> Tensor:
    """Return x · weightᵀ, or x · weight if not forward."""
    out = x.new_empty(*x.shape[:-1], weight.shape[0 if is_forward else 1])
    sizes = map(ctypes.c_long, (x[..., 0].numel(), *weight.shape))
    call(f"product_{_KINDS[weight.dtype]}", x, weight, out, *sizes, int(is_forward), torch.get_num_threads())
    return out


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
