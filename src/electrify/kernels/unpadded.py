"""Rows without their padding, one behind another, as the kernels of a network's layers can work on them."""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Unpadded:
    """Where the N real tokens stand in B rows of T: at the beginning of each."""

    places: Tensor
    """(N,) int64, counted through all rows."""
    begins: Tensor
    """Where each row begins among the N, and N, (B + 1,) int64."""
    num_tokens: int
    """T."""

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.begins) - 1

    def unpad(self, x: Tensor) -> Tensor:
        """Return these tokens of (B, T, …), (N, …)."""
        result: Tensor = _Unpad.apply(x, self)  # type: ignore[no-untyped-call]
        return result

    def pad(self, x: Tensor) -> Tensor:
        """Return (N, …) at its places in (B, T, …), with zeros elsewhere."""
        result: Tensor = _Pad.apply(x, self)  # type: ignore[no-untyped-call]
        return result


def leave_out(attention_mask: Tensor) -> Unpadded | None:
    """Return what is left of rows without their padding.

    Args:
        attention_mask: Where real tokens are, (B, T) bool.

    Returns:
        None where there is no padding, or some of it is not at the ends of rows.
    """
    attention_mask = attention_mask.bool()
    rows, tokens = attention_mask.shape
    lengths = attention_mask.sum(1)
    is_real = torch.arange(tokens, device=attention_mask.device) < lengths[:, None]
    places = is_real.flatten().nonzero().squeeze(1)
    if len(places) == rows * tokens or not torch.equal(attention_mask, is_real):
        return None
    return Unpadded(places, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]), tokens)


def lines(x: Tensor, layout: Unpadded | None) -> tuple[Tensor | None, ctypes.c_long]:
    """Return `Lines` of common.h for (B, T, …), or for (N, …) and where its tokens stand."""
    return (None, ctypes.c_long(x.shape[1])) if layout is None else (layout.places, ctypes.c_long(layout.num_tokens))


def _unpad(x: Tensor, of: Unpadded) -> Tensor:
    return x.flatten(0, 1).index_select(0, of.places)


def _pad(x: Tensor, of: Unpadded) -> Tensor:
    padded = x.new_zeros(of.num_rows, of.num_tokens, *x.shape[1:])
    padded.flatten(0, 1).index_copy_(0, of.places, x)
    return padded


class _Unpad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, of: Unpadded) -> Tensor:
        ctx.of = of
        return _unpad(x, of)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _pad(gradients[0], ctx.of), None


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, of: Unpadded) -> Tensor:
        ctx.of = of
        return _pad(x, of)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _unpad(gradients[0], ctx.of), None
