"""Rows of all processes, with gradients that find their way back."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all processes in the order of ranks, and where this process's begin.

    All processes must call it, backward too: each then gets the sum of what all of them say about its rows. So a loss
    of which every process computes its own terms has the gradients of the whole.

    Args:
        rows: (n, …) float32; n may differ between processes.

    Returns:
        (N, …) and a number of rows; `rows` itself and 0 where there is one process.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows, 0
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    lengths = [int(size) for size in sizes]
    gathered: Tensor = _Gather.apply(rows, lengths)  # type: ignore[no-untyped-call]
    return gathered, sum(lengths[: dist.get_rank()])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, lengths: list[int]) -> Tensor:
        ctx.first, ctx.count = sum(lengths[: dist.get_rank()]), len(rows)
        padded = rows.new_zeros((max(lengths), *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        pieces = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(pieces, padded)
        return torch.cat([piece[:length] for piece, length in zip(pieces, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.first : ctx.first + ctx.count], None
