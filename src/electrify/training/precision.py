"""Number format of the matrix products; the one place that decides it.

Weights, gradients, optimizer and losses stay in float32; under bf16 the matrix products run in bfloat16 by autocast.
"""

from contextlib import AbstractContextManager

import torch


def choose_device() -> torch.device:
    """Return the first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the format of the matrix products.

    Args:
        precision: "bf16", "fp32", or "auto": bf16 where the device multiplies it natively.
        device: Where the networks are.
    """
    if precision == "fp32" or (precision == "auto" and not _has_native_bf16(device)):
        return torch.float32
    return torch.bfloat16


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else ""
    return "AVX512" in capabilities and bool(torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Return a context in which matrix products run in `dtype`."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
