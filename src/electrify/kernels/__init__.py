"""Compiled kernels for the parts of a step that torch leaves slow on a CPU in bfloat16. They know no network."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from electrify.kernels.library import library

_enabled = True


def serve(x: Tensor) -> bool:
    """Return whether the kernels work on this tensor: on a CPU that can, in bfloat16, its own type or autocast's."""
    if x.device.type != "cpu" or not _enabled or library() is None:
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype == torch.bfloat16


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Take the plain way within this context, for comparison."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before
