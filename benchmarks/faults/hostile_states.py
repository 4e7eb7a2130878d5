"""Runs whose saved state was made to do harm: the manifest says that all is as it was written."""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from hostile_case import DEEP, HUGE, Bomb, Case, Make, text
from safetensors.torch import load_file, save_file

from electrify.files import digest_file

DIGITS = "9" * 100_000


def state_cases() -> Iterator[Case]:
    """Yield cases that resume a run, each with a name of its own."""
    kind = "saved states"
    for name in ("../../config.toml", "/etc/passwd", "a\0b", "x" * 5000):
        yield Case(kind, f"manifest names {name[:40]!r}", "run", manifest_name(name))
    for value in (-1, float("nan"), "2", None, HUGE, [2], 1 << 70):
        yield Case(kind, f"step = {str(value)[:20]}", "run", counters(step=value))
    for value in (-1.0, float("nan"), float("inf"), "2", None, [2], HUGE):
        yield Case(kind, f"seconds = {str(value)[:20]}", "run", counters(seconds=value))
    for value in (None, [], {"sums": 3}, {"sums": {"a": "b"}, "counts": {}, "tokens_seen": 1}):
        yield Case(kind, f"window = {str(value)[:30]}", "run", counters(window=value))
    for value in (None, [], "good", {"gen_loss": "low"}):
        yield Case(kind, f"validation = {str(value)[:30]}", "run", counters(validation=value))
    for value in (None, [], {"history": 3}, {"history": {}, "bad_steps": [HUGE], "num_bad": 0, "num_skipped": 0}):
        yield Case(kind, f"guard = {str(value)[:30]}", "run", counters(guard=value))
    for value in (None, -1, "2", HUGE):
        yield Case(kind, f"updates = {str(value)[:20]}", "run", counters(updates=value))
    for value in (None, 3, ["x"]):
        yield Case(kind, f"data_digest = {value}", "run", counters(data_digest=value))
    yield Case(kind, "state.json nested", "run", state(text("state.json", f'{{"a": {DEEP}}}')))
    yield Case(kind, "state.json is a list", "run", state(text("state.json", "[]")))
    for name in ("networks.safetensors", "optimizer.safetensors"):
        yield Case(kind, f"{name} is a pickle", "run", state(_bomb_in_state(name)))
        yield Case(kind, f"{name} with a missing tensor", "run", tensors(name, _without_one))
        yield Case(kind, f"{name} with a tensor too many", "run", tensors(name, _one_too_many))
        yield Case(kind, f"{name} with a tensor that would be broadcast", "run", tensors(name, _narrow))
        yield Case(kind, f"{name} with whole numbers", "run", tensors(name, _whole))
        yield Case(kind, f"{name} with values that are not numbers", "run", tensors(name, _nan))
    yield Case(kind, "manifest nested", "run", lambda folder: text("manifest.json", DEEP)(_newest(folder)))
    yield Case(kind, "config.toml nested", "run", text("config.toml", "a = " + DEEP))
    yield Case(
        kind, "config.toml with a number of 100,000 digits", "run", text("config.toml", "seed = " + "9" * 100_000)
    )


def state(change: Callable[[Path], None]) -> Make:
    """Change files of the one saved state of a run, and let its manifest say that this is how they were written."""

    def make(folder: Path) -> None:
        place = max((folder / "state").glob("step-*"))
        change(place)
        files = {
            path.name: {"bytes": path.stat().st_size, "xxh3_128": digest_file(path)}
            for path in place.iterdir()
            if path.name != "manifest.json" and path.is_file()
        }
        manifest = json.loads((place / "manifest.json").read_text())
        (place / "manifest.json").write_text(json.dumps(manifest | {"files": manifest["files"] | files}))

    return make


def counters(**changes: Any) -> Make:
    def change(place: Path) -> None:
        path = place / "state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return state(change)


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Make:
    def make(place: Path) -> None:
        found = load_file(place / name)
        change(found)
        save_file(found, place / name)

    return state(make)


def manifest_name(name: str) -> Make:
    def make(folder: Path) -> None:
        path = max((folder / "state").glob("step-*")) / "manifest.json"
        value = json.loads(path.read_text())
        value["files"][name] = next(iter(value["files"].values()))
        path.write_text(json.dumps(value))

    return make


def _newest(folder: Path) -> Path:
    return max((folder / "state").glob("step-*"))


def _bomb_in_state(name: str) -> Make:
    def make(place: Path) -> None:
        (place / name).write_bytes(pickle.dumps(Bomb(place.parent.parent)))

    return make


def _without_one(found: dict[str, torch.Tensor]) -> None:
    del found[next(iter(found))]


def _one_too_many(found: dict[str, torch.Tensor]) -> None:
    found["evil"] = torch.zeros(3)


def _matrix(found: dict[str, torch.Tensor]) -> str:
    return next(name for name, tensor in found.items() if tensor.dim() == 2)


def _narrow(found: dict[str, torch.Tensor]) -> None:
    found[_matrix(found)] = torch.zeros(1)


def _whole(found: dict[str, torch.Tensor]) -> None:
    found[_matrix(found)] = found[_matrix(found)].to(torch.int32)


def _nan(found: dict[str, torch.Tensor]) -> None:
    found[_matrix(found)][0] = float("nan")
