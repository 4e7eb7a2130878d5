"""The processes that work on one run: `torchrun` starts them, torch's process group joins them.

One process alone is a world of size 1, in which nothing is exchanged. On GPUs the group is NCCL's, else gloo's. Every
process leaves signs of life in the group's key-value store, so that the others can name it when it dies or hangs.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import _get_default_store

from electrify.errors import OtherProcessFailed, TrainingError

_BEAT_SECONDS = 2.0
_ROLL_CALL_SECONDS = 3.0
_PAUSE_SECONDS = 0.2


@dataclass(slots=True)
class World:
    """This process among those of its run."""

    rank: int = 0
    size: int = 1
    num_restarts: int = 0
    """How often `torchrun --max-restarts` has started the run's processes again, the same number on all of them."""
    _last_beat: float = 0.0

    @property
    def is_first(self) -> bool:
        """Return whether this is the process that writes files and talks."""
        return self.rank == 0

    def add(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, the same on all."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def highest(self, values: Sequence[int], device: torch.device) -> list[int]:
        """Return the highest of each value over all processes."""
        if self.size == 1:
            return list(values)
        numbers = torch.tensor(values, device=device)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return [int(value) for value in numbers.tolist()]

    def of_first(self, value: float, device: torch.device) -> float:
        """Return the first process's value on all processes."""
        if self.size == 1:
            return value
        number = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(number, src=0)
        return float(number)

    def join(self, values: Tensor) -> Tensor:
        """Return the values of all processes end to end, in the order of ranks.

        Args:
            values: (n,), n may differ between processes.
        """
        if self.size == 1:
            return values
        sizes = [torch.zeros(1, dtype=torch.int64, device=values.device) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(values)], device=values.device))
        lengths = [int(size) for size in sizes]
        padded = torch.zeros(max(lengths), dtype=values.dtype, device=values.device)
        padded[: len(values)] = values
        pieces = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(pieces, padded)
        return torch.cat([piece[:length] for piece, length in zip(pieces, lengths, strict=True)])

    def attempt(self, action: Callable[[], Any], device: torch.device, *, on_all: bool = False) -> Exception | None:
        """Do something on the first process while the others wait, or on all, and return what went wrong.

        Returns:
            The error on a process that had one; if only others had, `OtherProcessFailed`. None on all or on none.
        """
        problem: Exception | None = None
        if self.is_first or on_all:
            try:
                action()
            except Exception as error:
                problem = error
            except BaseException as error:  # torch's CheckpointException is no Exception
                if not hasattr(error, "failures"):
                    raise
                causes = [cause for cause, _ in error.failures.values()]
                problem = next((cause for cause in causes if isinstance(cause, OSError)), OSError(str(error)))
        has_failed = self.highest([int(problem is not None)], device)[0]
        return problem or (OtherProcessFailed() if has_failed else None)

    def first_does(self, action: Callable[[], Any], device: torch.device) -> None:
        """Do something on the first process while the others wait; if it fails there, all stop.

        Raises:
            OtherProcessFailed: On the others, if it failed.
        """
        problem = self.attempt(action, device)
        if problem is not None:
            raise problem

    def beat(self, step: int) -> None:
        """Leave a sign of life; cheap enough for every step."""
        now = time.monotonic()
        if self.size > 1 and now - self._last_beat > _BEAT_SECONDS:
            self._last_beat = now
            sign = f"{step} {os.uname().nodename} {os.getpid()}"
            _get_default_store().set(self._key("beat", self.rank), sign)

    def explain(self) -> Exception:
        """Say which processes have gone, from the signs of life that they left.

        All that still live ask this at the same time; each says so and waits a little for the others.

        Returns:
            An error that names them on the lowest living rank, `OtherProcessFailed` on the others.
        """
        try:
            store = _get_default_store()
            store.set(self._key("lost", self.rank), "")
            others = [rank for rank in range(self.size) if rank != self.rank]
            deadline = time.monotonic() + _ROLL_CALL_SECONDS
            while missing := [rank for rank in others if not store.check([self._key("lost", rank)])]:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            named = [self._last_sign(store, rank) for rank in missing]
        except (RuntimeError, ConnectionError):  # the host of the store is gone
            return TrainingError("the host that joins the processes is gone. Continue the run with --resume.")
        if any(rank < self.rank for rank in others if rank not in missing):
            return OtherProcessFailed()
        who = "; ".join(named) or "one of the other processes"
        return TrainingError(f"no answer from {who}. Continue the run with --resume.")

    def _last_sign(self, store: Any, rank: int) -> str:
        if not store.check([self._key("beat", rank)]):
            return f"process {rank}"
        step, host, pid = store.get(self._key("beat", rank)).decode().split()
        return f"process {rank} ({host}, pid {pid}; last heard of at step {step})"

    def _key(self, what: str, rank: int) -> str:
        return f"electrify/{what}/{self.num_restarts}/{rank}"


def is_lost_connection(problem: BaseException) -> bool:
    """Return whether an error came from a process that died or hangs, not from this one's own work."""
    if isinstance(problem, dist.DistError):
        return True
    signs = ("gloo", "nccl", "connection", "timed out", "timeout", "broken pipe", "socket", "store")
    return isinstance(problem, RuntimeError) and any(sign in str(problem).lower() for sign in signs)


def _num_restarts() -> int:
    """Return what this host's agent counts: the agents of hosts on which nothing failed count none."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def join_world(*, timeout_minutes: float) -> Iterator[World]:
    """Meet the other processes of the run, if `torchrun` started any.

    Args:
        timeout_minutes: How long another process may keep this one waiting.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "MASTER_ADDR" not in os.environ:
        yield World(num_restarts=_num_restarts())
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    timeout = timedelta(minutes=timeout_minutes)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timeout)
    world = World(dist.get_rank(), size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        world.num_restarts = world.highest([_num_restarts()], device)[0]
        yield world
    except RuntimeError as problem:
        if not is_lost_connection(problem):
            raise
        raise world.explain() from None
    # gloo's threads still let go of Python objects of the last exchange; a group that is destroyed meanwhile joins
    # them while it holds Python's lock, and neither side ever ends (seen in 1 of 5 runs without the pause).
    time.sleep(_PAUSE_SECONDS)
    dist.destroy_process_group()  # not after an error: it would wait for processes that are gone
