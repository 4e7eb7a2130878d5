"""Compiled kernels for the parts of a step that torch leaves slow on a CPU in bfloat16. They know no network."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from electrify.kernels.library import load_library

_is_there = load_library() is not None
_enabled = True


def is_enabled() -> bool:
    """Return whether the kernels are there and in use."""
    return _is_there and _enabled


def serve(x: Tensor) -> bool:
    """Return whether the kernels work on this tensor: on a CPU that can, in bfloat16, its own type or autocast's.

    Never within a layer that torch compiles; it makes its own.
    """
    if x.device.type != "cpu" or not is_enabled() or torch.compiler.is_compiling():
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
