"""Saved states of a run, of which the newest complete one is used.

`state/step-00001000/` holds the tensors (`networks.safetensors` and `optimizer.safetensors`, or one safetensors file a
process where they are sharded: `electrify.training.sharded`), `state.json` (counters) and `manifest.json` (size and
xxh3-128 digest of each file). It is written under a temporary name, flushed and renamed, so a folder with a plain name
is complete; every file is checked against the manifest before it is used, and a damaged state, or one of another run,
falls back to the one before. There is no state of random numbers: those are functions of seed, step and row.
"""

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from electrify.errors import CheckpointError
from electrify.files import check_manifest, new_folder, read_json, refuse_outside, write_json, write_manifest
from electrify.training.sharded import is_sharded, read_sharded

_LOG = logging.getLogger(__name__)
_NETWORKS, _OPTIMIZER = "networks.safetensors", "optimizer.safetensors"
_COUNTERS = "state.json"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a run continues from."""

    step: int
    """Optimizer steps taken."""
    networks: dict[str, Tensor]
    """Every parameter of the networks once; a shared one under its first name."""
    optimizer: dict[str, Tensor]
    counters: dict[str, Any]
    """Small values that JSON holds exactly; "run", if given, says what run the state is of."""


def save_state(folder: Path, state: State, *, keep_last: int, every: int = 1) -> Path:
    """Write a state, then remove older ones, and damaged later ones that the run fell back from.

    Args:
        folder: The run's `state` folder.
        state: What to save; tensors may be on any device.
        keep_last: States to keep, this one included.
        every: The last one whose step is a multiple of it is kept too.

    Returns:
        The folder of this state.
    """
    target = folder / state_name(state.step)
    with new_folder(target) as temporary:
        save_file(_plain(state.networks), temporary / _NETWORKS)
        save_file(_plain(state.optimizer), temporary / _OPTIMIZER)
        describe_state(temporary, state)
    remove_others(target, keep_last=keep_last, every=every)
    return target


def state_name(step: int) -> str:
    """Return the name of a state's folder."""
    return f"step-{step:08}"


def describe_state(folder: Path, state: State) -> None:
    """Write the counters and, last of all, the manifest."""
    write_json(folder / _COUNTERS, {"step": state.step, **state.counters})
    write_manifest(folder)


def remove_others(target: Path, *, keep_last: int, every: int = 1) -> None:
    """Remove states older than the last ones, and those later than `target`: the run fell back from them.

    The last one whose step is a multiple of `every` stays in any case.
    """
    states = list_states(target.parent)
    last = states.index(target) + 1
    regular = [state for state in states[:last] if step_of(state) % every == 0][-1:]
    for other in states[: max(0, last - keep_last)] + states[last:]:
        if other not in regular:
            shutil.rmtree(other)


def step_of(path: Path) -> int:
    """Return the step of a state's folder."""
    return int(path.name.removeprefix("step-"))


def list_states(folder: Path) -> list[Path]:
    """Return the complete states of a run, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def find_newest_state(folder: Path, *, run: str | None = None, every: int = 1) -> Path | None:
    """Return the newest state whose files are what was written; None if the run has none.

    Args:
        folder: The run's `state` folder.
        run: What the state's "run" must be, if given.
        every: States of other steps than multiples of it are passed over.

    Raises:
        CheckpointError: If there are such states and all of them are damaged.
    """
    problems = []
    for path in reversed([state for state in list_states(folder) if step_of(state) % every == 0]):
        try:
            _check(path, run=run)
        except CheckpointError as problem:
            _LOG.warning("%s Falling back to the state before it.", problem)
            problems.append(str(problem))
        else:
            return path
    if problems:
        raise CheckpointError(f"{folder}: no usable state. {problems[0]} Start again without --resume.")
    return None


def read_state(path: Path) -> State:
    """Read a state that `find_newest_state` returned, its tensors whole and on the CPU.

    Raises:
        CheckpointError: If a file can not be read.
    """
    counters = _read_counters(path)
    step = int(counters.pop("step"))
    try:
        if is_sharded(path):
            return State(step, **read_sharded(path), counters=counters)
        return State(step, load_file(path / _NETWORKS), load_file(path / _OPTIMIZER), counters)
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(f"{path}: {problem}.") from None


def load_newest_state(folder: Path, *, run: str | None = None) -> State | None:
    """Find and read the newest state; see `find_newest_state`."""
    path = find_newest_state(folder, run=run)
    return None if path is None else read_state(path)


def _check(path: Path, *, run: str | None) -> None:
    tensors = () if is_sharded(path) else (_NETWORKS, _OPTIMIZER)
    for file in path.iterdir():
        refuse_outside(file, error=CheckpointError)
    check_manifest(path, error=CheckpointError, required=[*tensors, _COUNTERS])
    counters = _read_counters(path)
    if run is not None and counters.get("run") != run:
        raise CheckpointError(f"{path / _COUNTERS}: is the state of another run.")


def _read_counters(path: Path) -> dict[str, Any]:
    counters = read_json(path / _COUNTERS, error=CheckpointError)
    step = counters.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or state_name(step) != path.name:
        raise CheckpointError(f"{path / _COUNTERS}: is of step {step!r}, so the folder has a wrong name.")
    return counters


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
