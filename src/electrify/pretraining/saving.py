"""What of a run is saved, when saving fails, and how it is put back."""

import logging
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor

from electrify.config import CheckpointConfig
from electrify.errors import CheckpointError, OtherProcessFailed, TrainingError
from electrify.files import sync_folder
from electrify.objectives.objective import AnyObjective
from electrify.training.checkpoints import (
    State,
    describe_state,
    list_states,
    remove_others,
    save_state,
    state_name,
)
from electrify.training.distributed import World
from electrify.training.optimizers import Optimizer
from electrify.training.parallel import fill, local
from electrify.training.sharded import start_writing

_LOG = logging.getLogger(__name__)


class StateKeeper:
    """Saves the states of one run and puts them back.

    Args:
        folder: The run's folder.
        objective: What is trained.
        optimizer: Of its parameters.
        config: How many are kept, and what a failure means.
        world: The processes; the first one writes, or all their shards.
        is_sharded: Whether the tensors are shards.

    Attributes:
        saved_step: Step of the state that this process saved last; None before the first.
    """

    def __init__(
        self,
        folder: Path,
        objective: AnyObjective,
        optimizer: Optimizer,
        *,
        config: CheckpointConfig,
        world: World,
        is_sharded: bool,
    ) -> None:
        self._folder = folder
        self._objective = objective
        self._optimizer = optimizer
        self._config = config
        self._world = world
        self._group = dist.new_group(backend="gloo") if is_sharded else None
        self._pending: tuple[_Task, Future[Any]] | None = None
        self.saved_step: int | None = None

    def save(
        self, step: int, counters: dict[str, Any], *, before: Callable[[], None] | None = None, place: str = "state"
    ) -> None:
        """Save the run at a step.

        Args:
            step: Optimizer steps taken.
            counters: What else is kept; JSON-able.
            before: Done first on the first process; if it fails with OSError, the state is not saved either.
            place: Name of the folder for it; in others than "state" only one is kept.

        Raises:
            TrainingError: If a parameter is not a number; such a state is never written.
            CheckpointError: If it can not be written and the config says that this stops the run.
        """
        self.complete()
        device = self._refuse_not_finite(step)
        state = State(
            step,
            dict(self._objective.named_parameters()),
            self._optimizer.tensors(),
            {**counters, "updates": self._optimizer.num_updates},
        )
        task = _Task(
            state,
            self._folder / place,
            self._config.keep_last if place == "state" else 1,
            self._config.every_steps,
            device,
        )
        problem = self._world.attempt(before or (lambda: None), device)
        if problem is not None:
            self._end(task, problem)
        elif self._group is None:
            save = partial(save_state, task.folder, state, keep_last=task.keep_last, every=task.every)
            self._end(task, self._world.attempt(save, device))
        else:
            self._start(task, group=self._group)

    @property
    def is_writing(self) -> bool:
        """Return whether shards of this process are still being written."""
        return self._pending is not None and not self._pending[1].done()

    def complete(self) -> None:
        """Give the state that is being written its name, once all shards are there; all processes must call it.

        Raises:
            CheckpointError: As in `save`.
        """
        if self._pending is None:
            return
        (task, written), self._pending = self._pending, None
        problem = self._world.attempt(written.result, task.device, on_all=True)
        if problem is None:
            problem = self._world.attempt(partial(_give_name, task), task.device)
        self._end(task, problem)

    def put_back(self, state: State) -> None:
        """Put a saved state into the networks and the optimizer.

        Raises:
            CheckpointError: If it is of other networks.
        """
        try:
            parameters = dict(self._objective.named_parameters())
            means = self._optimizer.allocate() if state.counters["updates"] else {}
            _check(state.networks, parameters)
            _check(state.optimizer, means)
            for name, parameter in parameters.items():
                fill(parameter, state.networks[name])
            for name, mean in means.items():
                fill(mean, state.optimizer[name])
            self._optimizer.load(means, num_steps=state.counters["updates"])
        except (KeyError, RuntimeError) as problem:
            raise CheckpointError(f"{self._folder}: a state does not fit these networks ({problem}).") from None

    def _start(self, task: "_Task", *, group: dist.ProcessGroup) -> None:
        problem = self._world.attempt(partial(_make_anew, task.temporary), task.device)
        if problem is not None:
            self._end(task, problem)
            return
        written = start_writing(task.temporary, task.state.networks, task.state.optimizer, group=group)
        self._pending = (replace(task, state=replace(task.state, networks={}, optimizer={})), written)

    def _end(self, task: "_Task", problem: Exception | None) -> None:
        if problem is None:
            self.saved_step = task.state.step
            return
        if not isinstance(problem, OSError | OtherProcessFailed | SafetensorError):
            raise problem
        newest = list_states(task.folder)[-1:]
        kept = f"the state in {newest[0]} is intact" if newest else "there is no earlier state"
        message = f"step {task.state.step} can not be saved in {task.folder} ({_reason(problem)}); {kept}."
        if self._config.on_save_error == "continue":
            if self._world.is_first:
                _LOG.warning("%s The run goes on.", message)
            return
        if isinstance(problem, OtherProcessFailed):
            raise problem
        raise CheckpointError(
            f"{message} Make room or mend the folder and continue with --resume; checkpoint.on_save_error = "
            '"continue" trains on instead.'
        )

    def _refuse_not_finite(self, step: int) -> torch.device:
        parameters = list(self._objective.parameters())
        device = parameters[0].device
        is_bad = any(not bool(torch.isfinite(local(tensor)).all()) for tensor in parameters)
        if self._world.highest([int(is_bad)], device)[0]:
            raise TrainingError(
                f"step {step}: a parameter is not a number, so the step is not saved. Lower optimizer.learning_rate "
                "and continue with --resume from the last saved state."
            )
        return device


@dataclass(frozen=True, slots=True)
class _Task:
    """One state on its way to the disk."""

    state: State
    folder: Path
    keep_last: int
    every: int
    device: torch.device

    @property
    def temporary(self) -> Path:
        return self.folder / f"{state_name(self.state.step)}.tmp"


def _give_name(task: _Task) -> None:
    target = task.folder / state_name(task.state.step)
    describe_state(task.temporary, task.state)
    sync_folder(task.temporary)
    if target.exists():
        shutil.rmtree(target)
    task.temporary.rename(target)
    remove_others(target, keep_last=task.keep_last, every=task.every)


def _check(stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise KeyError or RuntimeError if tensors have other names or shapes, or are no finite numbers."""
    differing = sorted(stored.keys() ^ expected.keys())
    if differing:
        raise KeyError(differing[0])
    for name, tensor in stored.items():
        if tensor.shape != expected[name].shape:
            raise RuntimeError(f"'{name}' is {list(tensor.shape)}, not {list(expected[name].shape)}")
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise RuntimeError(f"'{name}' holds values that are not finite numbers")


def _make_anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _reason(problem: Exception) -> str:
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem) or "on another process"
