"""Kill runs with SIGKILL, at chosen places and at random moments, until they are finished all the same.

    python benchmarks/faults/kill.py [--kills 100] [--seed 0]

Half of the kills come from outside after a random time; the others come at the n-th time that a run begins or ends one
of the actions below. A killed run is resumed, and killed again, up to ten times; then it may finish, and every line of
metrics (without timing) and every weight must be, bit for bit, those of a run that nothing disturbed.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from common import fingerprint, make_shards, train
from forking import fork, wait

from electrify import files, runs
from electrify.data import loader
from electrify.pretraining import session, step
from electrify.training import checkpoints, lock
from electrify.verbs import pretrain, publish

PLACES: dict[str, tuple[Any, str]] = {
    "start: lock": (lock.RunLock, "__enter__"),
    "start: config written": (session, "open_run"),
    "resume: state read": (session, "read_state"),
    "data: rows of a step": (loader.RowOrder, "row_indices"),
    "step: gradients": (step.TrainingStep, "compute"),
    "step: update": (step.TrainingStep, "apply"),
    "metrics: a line": (runs.MetricsLog, "write"),
    "evaluation": (pretrain, "evaluate"),
    "save: tensors": (checkpoints, "save_file"),
    "save: manifest": (checkpoints, "write_manifest"),
    "save: flush to disk": (files, "sync_folder"),
    "save: older states removed": (checkpoints, "remove_others"),
    "publish: a network": (publish, "save_model"),
}
KILLS_A_RUN = 10


def kill_at(place: str, number: int, *, before: bool) -> None:
    """Let this process die when it does something for the n-th time."""
    owner, name = PLACES[place]
    original = getattr(owner, name)
    left = [number]

    def dying(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = make_shards(folder)
        started = time.monotonic()
        assert wait(fork(lambda: train(shards, folder / "undisturbed"))) == 0
        duration = time.monotonic() - started
        expected = fingerprint(folder / "undisturbed")
        print(f"undisturbed run: {duration:.1f} s, metrics {expected[0]}, weights {expected[1]}")
        killed: Counter[str] = Counter()
        attempts = runs_done = equal = failures = 0
        while killed.total() < arguments.kills:
            output = folder / f"run-{runs_done}"
            here = 0
            while here < KILLS_A_RUN and killed.total() < arguments.kills:
                attempts += 1
                is_random = attempts % 2 == 0
                place, number, before = draw.choice(list(PLACES)), draw.randint(1, 4), draw.random() < 0.5

                def action(place: str | None = None if is_random else place, number: int = number) -> None:
                    if place is not None:
                        kill_at(place, number, before=before)  # noqa: B023 - forked at once
                    train(shards, output)  # noqa: B023

                process = fork(action)
                if is_random:
                    time.sleep(draw.uniform(0, duration / 2))
                    os.kill(process, signal.SIGKILL)
                code = wait(process)
                if code == -signal.SIGKILL:
                    here += 1
                    killed["at a random moment" if is_random else place] += 1
                elif code:
                    failures += 1
                    print(f"FAILED to resume: exit code {code}, {output}")
                else:
                    break  # it finished before its moment came
            code = wait(fork(lambda: train(shards, output)))  # noqa: B023
            runs_done += 1
            is_equal = code == 0 and fingerprint(output) == expected
            equal += is_equal
            print(f"run {runs_done}: killed {here} times, exit code {code}, equal: {is_equal}", flush=True)
        for place, count in sorted(killed.items()):
            print(f"{count:4d}  {place}")
        print(f"kills {killed.total()}, resumes that failed {failures}, runs {runs_done}, equal bit for bit {equal}")


if __name__ == "__main__":
    main()
