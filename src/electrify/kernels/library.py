"""The compiled kernels: whether this machine has them and can run them, and how they are called.

They are built when the package is installed and a compiler is at hand (`setup.py`), for x86 processors with AVX-512 and
its bfloat16 instructions. They are called through ctypes: no header of Python or torch, no pickle, nothing but pointers
and numbers. Without them everything runs in plain torch, with the same random numbers.
"""

import ctypes
import functools
import logging
import sys
import sysconfig
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from electrify.errors import ElectrifyError

_EDITION = 4
"""Of the functions and their random numbers; `kernels_edition` in dropout.cpp, and both go up together."""
_log = logging.getLogger(__name__)


@cache
def load_library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they were not built or the processor can not run them."""
    built = Path(__file__).with_name(f"_native{sysconfig.get_config_var('EXT_SUFFIX')}")
    if sys.platform != "linux" or not built.is_file() or not torch.cpu._is_avx512_bf16_supported():
        return None
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            runtime = find_openmp(maps)
        if runtime is None:
            return None
        ctypes.CDLL(runtime, mode=ctypes.RTLD_GLOBAL)  # the kernels' calls of OpenMP go to torch's threads
        library = ctypes.CDLL(str(built))
    except OSError as problem:
        _log.warning("the compiled kernels can not be loaded and are left out: %s", problem)
        return None
    if not hasattr(library, "kernels_edition") or library.kernels_edition() != _EDITION:
        _log.warning(
            "the compiled kernels belong to another version and are left out; build them again: pip install -e ."
        )
        return None
    return library


def find_openmp(maps: Iterable[str]) -> str | None:
    """Return the path of the OpenMP runtime that torch has loaded into this process.

    Args:
        maps: Lines of `/proc/self/maps`. Of several runtimes the one that lies with torch is torch's.
    """
    fields = [line.rstrip("\n").split(maxsplit=5) for line in maps]
    paths = sorted({line[5] for line in fields if len(line) == 6})
    paths.sort(key=lambda path: not Path(path).is_relative_to(Path(torch.__file__).parent))
    names = ("libgomp", "libiomp5", "libomp")
    return next((path for name in names for path in paths if Path(path).name.startswith(name)), None)


def call(name: str, *arguments: object) -> None:
    """Call a kernel.

    Args:
        name: Of the function in the library.
        arguments: Tensors, None, or ctypes values, in the order of its parameters.

    Raises:
        ElectrifyError: If there is no library.
    """
    loaded = load_library()
    if loaded is None:
        raise ElectrifyError("the compiled kernels are not there.")
    getattr(loaded, name)(*[pointer(one) if one is None or isinstance(one, Tensor) else one for one in arguments])


def differentiated_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a `backward` that calls kernels, whose results autograd would take for constants.

    `torch.autograd.function.once_differentiable` is silent where the gradient's way back leads past what raises.

    Raises:
        NotImplementedError: In the marked function, if its gradients are to be differentiated (`create_graph=True`).
    """

    @functools.wraps(backward)
    def checked(ctx: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "the compiled kernels have no second derivatives. Compute within `electrify.kernels.disabled()`."
            )
        return backward(ctx, *gradients)

    return checked


def dropout_keys(keys: Tensor | None, drop_prob: float) -> Tensor | None:
    """Return dropout keys, (B,), as the kernels read them; None if nothing is dropped."""
    return None if keys is None or drop_prob == 0 else keys.long().contiguous()


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return where a contiguous tensor's numbers are; a null pointer for None."""
    if tensor is None:
        return ctypes.c_void_p(None)
    if not tensor.is_contiguous():
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is not contiguous")
    return ctypes.c_void_p(tensor.data_ptr())
