"""Dropout by hashes in one pass; `noise.keep_mask` makes some ten tensors of the same size on the way."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from electrify.kernels import is_enabled
from electrify.kernels.library import call, differentiated_once

_KINDS = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def serves(x: Tensor) -> bool:
    """Return whether the kernel takes this tensor: (B, T, H) or (B, H) with whole vectors, on a CPU that can."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not is_enabled():
        return False
    return x.dtype in _KINDS and x.ndim in (2, 3) and x.shape[-1] % 16 == 0


def dropout(x: Tensor, keys: Tensor, *, drop_prob: float, site: int) -> Tensor:
    """Set a share of the elements to 0 and divide the others by 1 - drop_prob.

    Args:
        x: (B, T, H) or (B, H), float32 or bfloat16.
        keys: One key a row, (B,) int64.
        drop_prob: The share.
        site: Number of the place.
    """
    result: Tensor = _Drop.apply(x, keys.long().contiguous(), drop_prob, site)  # type: ignore[no-untyped-call]
    return result


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: Tensor, drop_prob: float, site: int) -> Tensor:
        ctx.save_for_backward(keys)
        ctx.settings = drop_prob, site
        return _drop(x, keys, drop_prob, site)

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (keys,) = ctx.saved_tensors
        return _drop(gradients[0], keys, *ctx.settings), None, None, None


def _drop(x: Tensor, keys: Tensor, drop_prob: float, site: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    sizes = x.shape[0], x.shape[1] if x.ndim == 3 else 1, x.shape[-1]
    places = keys, ctypes.c_long(site), ctypes.c_double(drop_prob)
    call(f"dropout_{_KINDS[x.dtype]}", x, *places, out, *map(ctypes.c_long, sizes), torch.get_num_threads())
    return out
