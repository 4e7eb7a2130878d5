"""Rows without their padding, one behind another, as the kernels of a network's layers can work on them."""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_MULTIPLE = 32
"""So many tokens more or less are worth no other size: torch prepares its products anew for each."""


@dataclass(frozen=True, slots=True)
class Unpadded:
    """Where N tokens stand in B rows of T: the first of each row, all real ones among them."""

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

    A little padding stays where it makes N a multiple of 32.

    Args:
        attention_mask: Where real tokens are, (B, T) bool.

    Returns:
        None where nothing is gained, or padding is not at the ends of rows.
    """
    rows, tokens = attention_mask.shape
    lengths = attention_mask.sum(1)
    num_real = int(lengths.sum())
    num_kept = min(-(-num_real // _MULTIPLE) * _MULTIPLE, rows * tokens)
    order = torch.arange(tokens, device=attention_mask.device)
    if num_kept == rows * tokens or not torch.equal(attention_mask.bool(), order < lengths[:, None]):
        return None
    room = tokens - lengths
    before = room.cumsum(0) - room
    lengths = lengths + (num_kept - num_real - before).clamp(min=0).minimum(room)
    places = (order < lengths[:, None]).flatten().nonzero().squeeze(1)
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
