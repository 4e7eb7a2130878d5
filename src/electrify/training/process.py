"""How a process that trains handles memory."""

import ctypes
import gc
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_ALL = 2**31 - 1
_LARGEST_FROM_HEAP = 2**30


def settle() -> None:
    """Make this process ready for many steps that use the same memory again and again.

    A step frees all it took, and takes it again in the next. glibc gives large buffers back to the system each time;
    fetching them again costs a page fault for every 4 KiB, which made a matrix product of 4,096 × 256 by 256 × 1,024
    take 1.5 to 2 times as long (`docs/performance.md`). Here freed memory stays with the process. And what exists now
    (modules, networks) is taken out of the garbage collector's rounds, which otherwise look through all of it.
    """
    if platform.libc_ver()[0] == "glibc":
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP)
        allocator.mallopt(_M_TRIM_THRESHOLD, _ALL)
    gc.collect()
    gc.freeze()
