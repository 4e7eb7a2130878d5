"""The compiled kernels: whether this machine has them and can run them, and how they are called.

They are built when the package is installed and a compiler is at hand (`setup.py`), for x86 processors with AVX-512 and
its bfloat16 instructions. They are called through ctypes: no header of Python or torch, no pickle, nothing but pointers
and numbers. Without them everything runs in plain torch, with the same random numbers.
"""

import ctypes
import logging
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from electrify.errors import ElectrifyError

_EDITION = 4
"""Of the functions and their random numbers; `kernels_edition` in dropout.cpp, and both go up together."""
_log = logging.getLogger(__name__)


@cache
def load_library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they were not built or the processor can not run them."""
    found = sorted(Path(__file__).parent.glob("_native*.so"))
    if not found or sys.platform != "linux" or not torch.cpu._is_avx512_bf16_supported():
        return None
    runtime = _openmp_runtime()
    if runtime is None:
        return None
    ctypes.CDLL(runtime, mode=ctypes.RTLD_GLOBAL)  # the kernels' calls of OpenMP go to torch's threads
    library = ctypes.CDLL(str(found[0]))
    if not hasattr(library, "kernels_edition") or library.kernels_edition() != _EDITION:
        _log.warning(
            "the compiled kernels belong to another version and are left out; build them again: pip install -e ."
        )
        return None
    return library


def _openmp_runtime() -> str | None:
    """Return the path of the OpenMP runtime that torch has loaded into this process."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = {line.split()[-1] for line in maps if line.rstrip().endswith(tuple("0123456789")) or ".so" in line}
    names = ("libgomp", "libiomp5", "libomp")
    return next((path for name in names for path in sorted(paths) if Path(path).name.startswith(name)), None)


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


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return where a contiguous tensor's numbers are; a null pointer for None."""
    if tensor is None:
        return ctypes.c_void_p(None)
    if not tensor.is_contiguous():
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is not contiguous")
    return ctypes.c_void_p(tensor.data_ptr())
