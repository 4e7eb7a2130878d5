"""Tensors that are spread over processes, told from others without loading what spreads them.

`torch.distributed.tensor` takes a second to import, which a run in one process need not wait for.
"""

import sys
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_split(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Return whether a tensor is spread over processes."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)
