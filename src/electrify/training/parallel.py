"""How several processes train one module: copies of it that add their gradients (DDP), or shards of it (FSDP2).

Losses are sums over the whole batch of a step, so gradients are added, not averaged.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from electrify.training.distributed import World
from electrify.training.split import is_split

_BYTES_A_PARAMETER = 16  # weight, gradient and two means in float32
_SHARE_OF_MEMORY = 0.25  # the rest is for activations


M = TypeVar("M", bound=nn.Module)


class Parallel(Generic[M]):
    """A module that is trained by all processes of a world.

    Args:
        module: On its device; the same values on all processes.
        blocks: Parts of it that are gathered one at a time when it is sharded.
        world: The processes.
        kind: "ddp", "fsdp", or "auto": sharded only where a device could not hold it all.
    """

    def __init__(self, module: M, blocks: Iterable[nn.Module], *, world: World, kind: str) -> None:
        self._world = world
        self.kind = "none" if world.size == 1 else kind if kind != "auto" else _choose(module)
        self._module = module
        self._call: nn.Module = module
        self._skeleton: M | None = None
        if self.kind == "fsdp":
            from torch.distributed.fsdp import FSDPModule, fully_shard

            self._skeleton = copy.deepcopy(module).to("meta")
            for block in dict.fromkeys(blocks):  # a block that two networks share is one
                fully_shard(block)
            fully_shard(module)
            for part in module.modules():
                if isinstance(part, FSDPModule):
                    part.set_gradient_divide_factor(1.0)
                    part.set_force_sum_reduction_for_comms(True)  # gloo has no sum with a factor
        elif self.kind == "ddp":
            # Without this, gradients are put into other buckets after the first step, and so are summed in another
            # order than in a resumed run: with four processes the last bits then differ.
            # Buffers hold ids of tokens, which nothing changes; sending them would be one more wait in every step.
            self._call = DistributedDataParallel(
                module, find_unused_parameters=True, gradient_as_bucket_view=True, broadcast_buffers=False
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's forward pass."""
        return self._call(*args, **kwargs)

    def whole_module(self) -> M:
        """Return the module, or a copy on the CPU that puts its shards together; all processes must call it."""
        if self._skeleton is None:
            return self._module
        copied = copy.deepcopy(self._skeleton).to_empty(device="cpu")
        parameters = dict(self._module.named_parameters())
        with torch.no_grad():
            for name, parameter in copied.named_parameters():
                parameter.copy_(whole(parameters[name].detach()))
        return copied

    def forget_gathered(self) -> None:
        """Let go of weights that a forward pass without a backward pass has gathered; the next one gathers anew.

        Needed where the values of the shards change in between.
        """
        if self.kind == "fsdp":
            from torch.distributed.fsdp import FSDPModule

            for part in self._module.modules():
                if isinstance(part, FSDPModule):
                    part.reshard()

    def backward(self, loss: Tensor) -> None:
        """Add this loss's gradients to those of the other processes."""
        (loss * self._world.size if self.kind == "ddp" else loss).backward()  # DDP divides by it

    @contextmanager
    def micro_batch(self, *, is_last: bool) -> Iterator[None]:
        """Enclose the forward and backward pass of one micro-batch; gradients are exchanged after the last."""
        if isinstance(self._call, DistributedDataParallel) and not is_last:
            with self._call.no_sync():
                yield
            return
        if self.kind == "fsdp":
            sharded: Any = self._call  # an FSDPModule
            sharded.set_requires_gradient_sync(is_last)
        yield


def _choose(module: nn.Module) -> str:
    if not torch.cuda.is_available():
        return "ddp"
    needed = _BYTES_A_PARAMETER * sum(parameter.numel() for parameter in module.parameters())
    return "fsdp" if needed > _SHARE_OF_MEMORY * torch.cuda.get_device_properties().total_memory else "ddp"


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor itself, or gather its shards; all processes must call it then."""
    return tensor.full_tensor() if is_split(tensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """Return a tensor itself, or this process's shard of it."""
    return tensor.to_local() if is_split(tensor) else tensor


@torch.no_grad()
def fill(target: Tensor, values: Tensor) -> None:
    """Copy values into a tensor, or this process's part of them into its shard.

    Raises:
        RuntimeError: If the shapes differ.
    """
    if is_split(target) and target.shape != values.shape:
        raise RuntimeError(f"shape {tuple(values.shape)}, expected {tuple(target.shape)}")
    target.copy_(spread_like(target, values))


def spread_like(target: Tensor, values: Tensor) -> Tensor:
    """Return whole values themselves, or this process's part of them where a tensor of their shape is in shards."""
    if not is_split(target):
        return values
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(values.to(target.device), target.device_mesh, target.placements, src_data_rank=None)
