"""z = residual + dropout(x + bias) and the layer norm of z, in one pass over each token."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from electrify.kernels.library import call, differentiated_once, dropout_keys
from electrify.kernels.unpadded import Unpadded, lines

_LANES = 16
_KINDS = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def fits(size: int) -> bool:
    """Return whether the kernel takes tokens of this size."""
    return size % _LANES == 0


def add_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    norm_bias: Tensor | None = None,
    epsilon: float,
    keys: Tensor | None = None,
    drop_prob: float = 0.0,
    site: int = 0,
    layout: Unpadded | None = None,
) -> tuple[Tensor, Tensor]:
    """Add to the residual stream and norm it.

    Args:
        x: What is added, (B, T, H) bfloat16; (N, H) if there is a layout, as all that follows.
        residual: What it is added to, (B, T, H) bfloat16 or float32.
        weight: Of the norm, (H,).
        bias: Added to x before dropout, (H,); None adds nothing.
        norm_bias: Of the norm, (H,).
        epsilon: Of the norm.
        keys: Dropout keys, (B,) int64; None drops nothing.
        drop_prob: Share dropped of x.
        site: Number of the place for dropout.
        layout: Where the tokens stand in rows; None means that x has them all.

    Returns:
        The norm of z, (B, T, H) bfloat16, and z itself, of the residual's type.
    """
    keys = dropout_keys(keys, drop_prob)
    weights = (weight, bias, norm_bias)
    plain = [None if one is None else one.float() for one in weights]
    result: tuple[Tensor, Tensor] = _AddNorm.apply(  # type: ignore[no-untyped-call]
        x.bfloat16().contiguous(), residual.contiguous(), *plain, epsilon, keys, drop_prob, site, layout
    )
    return result


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        norm_bias: Tensor | None,
        epsilon: float,
        keys: Tensor | None,
        drop_prob: float,
        site: int,
        layout: Unpadded | None,
    ) -> tuple[Tensor, Tensor]:
        tokens, size = x[..., 0].numel(), x.shape[-1]
        kind = _KINDS[residual.dtype]
        z, out = torch.empty_like(residual), torch.empty_like(x)
        mean, scale = x.new_empty(2, tokens, dtype=torch.float32)
        places = [keys, ctypes.c_long(site), ctypes.c_double(drop_prob), *lines(x, layout)]
        sizes = [ctypes.c_long(tokens), ctypes.c_long(size)]
        inputs = [x, bias, residual, weight, norm_bias, ctypes.c_float(epsilon)]
        call(f"add_norm_{kind}", *inputs, *places, *sizes, z, out, mean, scale, torch.get_num_threads())
        ctx.save_for_backward(z, weight, mean, scale, keys)
        ctx.settings = kind, places[1:], sizes, bias is not None, norm_bias is not None
        ctx.set_materialize_grads(False)
        return out, z

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        out_grad, z_grad = gradients
        if out_grad is None:  # only the stream went on
            raise NotImplementedError("the norm's result is always used")
        z, weight, mean, scale, keys = ctx.saved_tensors
        kind, places, sizes, has_bias, has_norm_bias = ctx.settings
        residual_grad = torch.empty_like(z)
        is_same = keys is None and kind == "bf16"  # then x and the residual have one gradient
        x_grad = residual_grad if is_same else torch.empty_like(out_grad)
        sums = z.new_empty(3, z.shape[-1], dtype=torch.float32)
        given = [out_grad.contiguous(), None if z_grad is None else z_grad.contiguous(), z, weight, mean, scale]
        wanted = [residual_grad, None if is_same else x_grad, sums, torch.get_num_threads()]
        call(f"add_norm_backward_{kind}", *given, keys, *places, *sizes, *wanted)
        weight_grad, norm_bias_grad, bias_grad = sums
        vectors = weight_grad, bias_grad if has_bias else None, norm_bias_grad if has_norm_bias else None
        return x_grad, residual_grad, *vectors, None, None, None, None, None
