"""Damage every file of a saved state, a shard folder and a model folder, and see whether it is noticed and named.

    python benchmarks/faults/damage.py [state] [shards] [model] [--seeds 6]

Each file is changed by one flipped bit (at a place drawn by seed), cut in half, emptied, deleted, and exchanged for the
file of the same name of another run. A case passes when

- state: the run goes back to the state before it, and ends with the metrics and weights of an undisturbed run;
- shards, models: they are refused with the file's name before anything is trained or answered. The file of another run
  may be the same byte for byte (one tokenizer for both); such cases are left out. Where a manifest is another run's, or
missing, any of the files that it disagrees with may be named.
"""

import argparse
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from common import fingerprint, make_shards, train
from forking import fork, wait

from electrify.errors import ElectrifyError
from electrify.models.hub import resolve_folder
from electrify.verbs.detect import detect


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(content))


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "flipped bit": flip,
    "cut in half": lambda path, _: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]) and None,
    "emptied": lambda path, _: path.write_bytes(b"") and None,
    "deleted": lambda path, _: path.unlink(),
}


class Captured(logging.Handler):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def cases(folder: Path, other: Path, seeds: int) -> list[tuple[Path, str, int]]:
    """Every file with every damage; flips with several seeds."""
    found = []
    for path in sorted(one for one in folder.rglob("*") if one.is_file() and one.name != "README.md"):
        name = path.relative_to(folder)
        found += [(name, "flipped bit", seed) for seed in range(seeds)]
        found += [(name, damage, 0) for damage in ("cut in half", "emptied", "deleted") if path.stat().st_size > 1]
        if (other / name).is_file() and (other / name).read_bytes() != path.read_bytes():
            found.append((name, "another run's", 0))
    return found


def damage_file(target: Path, name: Path, damage: str, seed: int, other: Path) -> None:
    if damage == "another run's":
        shutil.copyfile(other / name, target / name)
    else:
        DAMAGES[damage](target / name, random.Random(f"{name}{seed}"))


def try_state(run: Path, work: Path, shards: Path, expected: tuple[str, str], case: tuple[Path, str, int]) -> bool:
    """Damage the newest state of a run that was interrupted, resume it, and compare."""
    name, damage, seed = case
    shutil.copytree(run, work)
    newest = sorted((work / "state").iterdir())[-1]
    damage_file(newest, name, damage, seed, run.parent / "other-state")

    def resumed() -> None:
        captured = Captured()
        logging.getLogger("electrify").addHandler(captured)
        train(shards, work)
        place = newest if name.name == "manifest.json" else newest / name
        is_named = any(str(place) in line and "Falling back" in line for line in captured.lines)
        raise SystemExit(0 if is_named else 3)

    is_good = wait(fork(resumed)) == 0 and fingerprint(work) == expected
    shutil.rmtree(work)
    return is_good


def is_refused(action: Callable[[], object], path: Path) -> bool:
    try:
        action()
    except ElectrifyError as error:
        return str(path.parent if path.name == "manifest.json" else path) in str(error)
    return False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("kinds", nargs="*", help="of folders: state, shards, model; all if none is given")
    arguments = parser.parse_args()
    seeds, kinds = arguments.seeds, arguments.kinds or ["state", "shards", "model"]
    logging.getLogger("electrify").propagate = False
    tried: Counter[tuple[str, str]] = Counter()
    noticed: Counter[tuple[str, str]] = Counter()

    def count(kind: str, case: tuple[Path, str, int], is_good: bool) -> None:
        tried[kind, case[1]] += 1
        noticed[kind, case[1]] += is_good
        if not is_good:
            print(f"NOT NOTICED: {kind}, {case}")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards, other_shards = make_shards(folder / "one"), make_shards(folder / "two", seed=1)
        assert wait(fork(lambda: train(shards, folder / "run"))) == 0
        assert wait(fork(lambda: train(other_shards, folder / "other"))) == 0
        expected = fingerprint(folder / "run")
        newest = sorted((folder / "run" / "state").iterdir())[-1]
        shutil.copytree(folder / "other" / "state" / newest.name, folder / "other-state")
        for case in cases(newest, folder / "other-state", 2 * seeds) if "state" in kinds else []:
            count("state", case, try_state(folder / "run", folder / "work", shards, expected, case))
        for case in cases(shards, other_shards, seeds) if "shards" in kinds else []:
            work = Path(shutil.copytree(shards, folder / "work"))
            damage_file(work, *case, other_shards)
            refused = is_refused(lambda: train(folder / "work", folder / "new"), work / case[0])
            count("shards", case, refused and not (folder / "new").exists())
            shutil.rmtree(work)
        model, other_model = folder / "run" / "discriminator", folder / "other" / "discriminator"
        for case in cases(model, other_model, seeds) if "model" in kinds else []:
            work = Path(shutil.copytree(model, folder / "work"))
            damage_file(work, *case, other_model)
            if case == (
                Path("manifest.json"),
                "deleted",
                0,
            ):  # then it is a folder like anybody's; its content is whole
                is_good = detect(work, ["bab dog"]) == detect(model, ["bab dog"])
            else:
                is_good = is_refused(lambda: resolve_folder(folder / "work"), work / case[0])
            count("model", case, is_good)
            shutil.rmtree(work)
    for key in tried:
        print(f"{key[0]:8s} {key[1]:14s} {noticed[key]:4d} of {tried[key]}")
    print(f"noticed and named: {noticed.total()} of {tried.total()}")


if __name__ == "__main__":
    main()
