"""Saved states of a run, of which the newest complete one is used.

`state/step-00001000/` holds `networks.safetensors`, `optimizer.safetensors`, `state.json` (counters) and
`manifest.json` (size and xxh3-128 digest of each file). It is written under a temporary name, flushed and renamed, so
a folder with a plain name is complete; every file is checked against the manifest before it is used, and a damaged
state falls back to the one before. There is no state of random numbers: those are functions of seed, step and row.
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
from electrify.files import digest_file, new_folder, read_json, write_json

_LOG = logging.getLogger(__name__)
_NETWORKS, _OPTIMIZER = "networks.safetensors", "optimizer.safetensors"
_COUNTERS, _MANIFEST = "state.json", "manifest.json"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a run continues from."""

    step: int
    """Optimizer steps taken."""
    networks: dict[str, Tensor]
    """Every parameter of both networks once; a shared one under its first name."""
    optimizer: dict[str, Tensor]
    counters: dict[str, Any]
    """Small values that JSON holds exactly."""


def save_state(folder: Path, state: State, *, keep_last: int) -> Path:
    """Write a state, then remove older ones, and damaged later ones that the run fell back from.

    Args:
        folder: The run's `state` folder.
        state: What to save; tensors may be on any device.
        keep_last: States to keep, this one included.

    Returns:
        The folder of this state.
    """
    target = folder / f"step-{state.step:08}"
    with new_folder(target) as temporary:
        save_file(_plain(state.networks), temporary / _NETWORKS)
        save_file(_plain(state.optimizer), temporary / _OPTIMIZER)
        write_json(temporary / _COUNTERS, {"step": state.step, **state.counters})
        write_json(temporary / _MANIFEST, {"files": _describe(temporary)})
    states = list_states(folder)
    last = states.index(target) + 1
    for other in states[: max(0, last - keep_last)] + states[last:]:  # later ones are damaged: the run fell back
        shutil.rmtree(other)
    return target


def list_states(folder: Path) -> list[Path]:
    """Return the complete states of a run, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def load_newest_state(folder: Path) -> State | None:
    """Load the newest state whose files are what was written; None if the run has none.

    Raises:
        CheckpointError: If there are states and all of them are damaged.
    """
    problems = []
    for path in reversed(list_states(folder)):
        try:
            return _load(path)
        except CheckpointError as problem:
            _LOG.warning("%s Falling back to the state before it.", problem)
            problems.append(str(problem))
    if problems:
        raise CheckpointError(f"{folder}: no usable state. {problems[0]} Start again without --resume.")
    return None


def _load(path: Path) -> State:
    expected = read_json(path / _MANIFEST, error=CheckpointError).get("files")
    if not isinstance(expected, dict) or {_NETWORKS, _OPTIMIZER, _COUNTERS} - expected.keys():
        raise CheckpointError(f"{path / _MANIFEST}: does not name the files of a state.")
    actual = _describe(path)
    for name, description in expected.items():
        if name not in actual:
            raise CheckpointError(f"{path / name}: is missing.")
        if actual[name] != description:
            raise CheckpointError(f"{path / name}: is not what was written (size or digest differs).")
    counters = read_json(path / _COUNTERS, error=CheckpointError)
    try:
        networks, optimizer = load_file(path / _NETWORKS), load_file(path / _OPTIMIZER)
    except SafetensorError as problem:
        raise CheckpointError(f"{path}: {problem}.") from None
    return State(int(counters.pop("step")), networks, optimizer, counters)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _describe(folder: Path) -> dict[str, dict[str, int | str]]:
    return {
        path.name: {"bytes": path.stat().st_size, "xxh3_128": digest_file(path)}
        for path in sorted(folder.iterdir())
        if path.name != _MANIFEST
    }
