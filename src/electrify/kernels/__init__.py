"""Compiled kernels for the parts of a step that torch leaves slow on a CPU in bfloat16. They know no network."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from electrify.kernels.library import load_library

_is_there = load_library() is not None
_enabled = ContextVar("_enabled", default=True)
_DTYPES = (torch.bfloat16, torch.float32)


def is_enabled() -> bool:
    """Return whether the kernels are there and in use."""
    return _is_there and _enabled.get()


def serve(x: Tensor) -> bool:
    """Return whether the kernels work on this tensor: on a CPU that can, in bfloat16, its own type or autocast's.

    Never within a layer that torch compiles; it makes its own.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or x.dtype not in _DTYPES or not is_enabled():
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype == torch.bfloat16


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Take the plain way within this context and thread, for comparison."""
    before = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(before)


def left_to_compiler(layers: nn.ModuleList) -> contextlib.AbstractContextManager[None]:
    """Take the plain way within this context if torch compiles these layers.

    What is chosen for them beforehand, outside of what is compiled, has to fit what they find inside.
    """
    is_compiled = any(layer._compiled_call_impl is not None for layer in layers)
    return disabled() if is_compiled else contextlib.nullcontext()
