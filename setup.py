"""Builds the compiled kernels where they can run; everything else about the package is in pyproject.toml."""

import platform
import sys

from setuptools import Extension, setup

_KERNELS = "src/electrify/kernels/cpp"
_INSTRUCTIONS = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mfma"]
_SOURCES = ("activation", "attention", "dropout", "linear", "norm", "product", "vocabulary")

# Calls of OpenMP are left open when linking: they go to the runtime that torch has loaded, so both use one set of
# threads. With `optional`, a machine without a compiler gets a package that takes the plain way.
native = Extension(
    "electrify.kernels._native",
    sources=[f"{_KERNELS}/{name}.cpp" for name in _SOURCES],
    depends=[f"{_KERNELS}/{name}.h" for name in ("buffer", "common", "matrix")],
    extra_compile_args=["-std=c++17", "-O3", "-fopenmp", "-g0", "-Wno-maybe-uninitialized", *_INSTRUCTIONS],
    optional=True,
)
can_run = sys.platform == "linux" and platform.machine() == "x86_64"
setup(ext_modules=[native] if can_run else [])
