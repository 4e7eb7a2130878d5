"""Runs of a comparison in processes of their own, several at a time: pre-training, then the tasks that judge it.

In one process a run would begin with the peak of the runs before it, and with what their allocations left behind; and
networks too small to keep many processors busy are trained faster side by side than one after the other.

    standard input   the fields of `Work`, "threads", "log_level", "log_format", "shows_progress"
    standard output  {} at the end, or {"error": a type of `errors`, "message", "signal_number"}

What the runs say and their progress go to standard error, which is the parent's.
"""

import contextlib
import ctypes
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from electrify import progress
from electrify.errors import ElectrifyError, RunStopped, TrainingError
from electrify.files import read_json
from electrify.training.checkpoints import list_states
from electrify.training.signals import listen
from electrify.verbs.pretrain import pretrain
from electrify.verbs.suite import run_tasks

RESULTS = "results.json"

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2
_SIGNAL_AT_PARENTS_DEATH = 1
"""PR_SET_PDEATHSIG of Linux' prctl."""


@dataclass(frozen=True, slots=True)
class Judging:
    """How a run is judged; all JSON-able, as for `run_tasks`."""

    suite: str
    data: str
    output: str
    name: str
    seeds: Sequence[int]
    overrides: dict[str, Any]
    only: Sequence[str]


@dataclass(frozen=True, slots=True)
class Work:
    """A run to be begun or continued; what is done already is not done again."""

    name: str
    """What the run is called in what it says beside others."""
    recipe: str
    output: str
    """The run's folder; its report is in its results.json."""
    overrides: dict[str, Any]
    """As for `pretrain`, JSON-able."""
    judging: Judging | None = None


def run_apart(works: Sequence[Work], *, jobs: int = 1, tick: Callable[[], None] = lambda: None) -> None:
    """Do works, each in a new process.

    Args:
        works: In the order in which they are begun.
        jobs: How many at a time; they share the threads of this process.
        tick: Called several times a second.

    Raises:
        RunStopped: If SIGTERM or SIGINT asked for an end; runs are saved.
        ElectrifyError: What went wrong first, after all others were told to end; `TrainingError` if a process dies.
    """
    waiting, running = list(works), list[_Child]()
    options = {
        "threads": max(1, torch.get_num_threads() // jobs),
        "log_level": _LOG.getEffectiveLevel(),
        "shows_progress": progress.is_enabled() and jobs == 1,
    }
    with listen() as stop, ExitStack() as stack:
        while running or (waiting and not stop):
            while waiting and len(running) < jobs and not stop:
                work = waiting.pop(0)
                _LOG.info("%s: begins, %d of %d.", work.name, len(works) - len(waiting), len(works))
                say = f"{work.name}: %(message)s" if jobs > 1 else "%(message)s"
                running.append(_Child(work, {**options, "log_format": say}))
                stack.callback(running[-1].end)
            time.sleep(_POLL_S)
            tick()
            for child in list(running):
                if stop:
                    child.tell(stop.signal_number)
                if child.has_ended():
                    running.remove(child)
                    child.raise_what(is_asked_to_end=bool(stop))
    if stop:  # before a run listened, or when it was finished
        name = signal.Signals(stop.signal_number).name
        raise RunStopped(f"stopped by {name}. The same call goes on.", stop.signal_number)


class _Child:
    """A process that does one work."""

    def __init__(self, work: Work, options: dict[str, Any]) -> None:
        places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        self._work = work
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,  # a key pressed at the terminal comes to it once, through this process
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(work) | options))
        self._process.stdin.close()
        self._is_told = False

    def tell(self, signal_number: int) -> None:
        """Pass a signal on, once."""
        if not self._is_told:
            self._is_told = True
            self._process.send_signal(signal_number)

    def has_ended(self) -> bool:
        """Return whether the process is gone."""
        return self._process.poll() is not None

    def raise_what(self, *, is_asked_to_end: bool) -> None:
        """Raise what the process has ended with, if anything."""
        assert self._process.stdout is not None
        reply, code = self._process.stdout.read(), self._process.returncode
        if not reply:
            if is_asked_to_end:
                return
            why = " Perhaps it was out of memory." if code == -signal.SIGKILL else ""
            place = self._work.output
            raise TrainingError(f"{place}: its process ended with code {code}.{why} The same call goes on with it.")
        problem = json.loads(reply)
        if problem.get("error") == RunStopped.__name__:
            raise RunStopped(problem["message"], problem["signal_number"])
        if problem:
            known = {kind.__name__: kind for kind in ElectrifyError.__subclasses__()}
            raise known.get(problem["error"], ElectrifyError)(problem["message"])

    def end(self) -> None:
        """Let the process save itself and end, if it lives."""
        if not self.has_ended():
            self.tell(signal.SIGTERM)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _do(work: Work) -> None:
    folder = Path(work.output)
    if not (folder / RESULTS).exists():
        if work.judging is not None and not list_states(folder / "state"):
            _forget_scores(work.judging)
        pretrain(work.recipe, output=folder, overrides=work.overrides, resume=True)
    if work.judging is not None:
        network = folder / str(read_json(folder / RESULTS)["networks"][0])
        run_tasks(network, **asdict(work.judging))


def _forget_scores(judging: Judging) -> None:
    """Remove the scores of an earlier run of this name: the one that begins now may be of other settings."""
    scores = Path(judging.output) / judging.name
    if scores.is_dir():
        _LOG.info("%s: the scores of a run that is no longer there are removed.", scores)
        shutil.rmtree(scores)


def main() -> None:
    """Do what standard input asks for."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if sys.platform == "linux":  # a parent that is killed can not say so
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM)
    request = json.load(sys.stdin)
    logging.basicConfig(level=request.pop("log_level"), format=request.pop("log_format"), stream=sys.stderr)
    if request.pop("shows_progress"):
        progress.enable()
    torch.set_num_threads(request.pop("threads"))
    judging = request.pop("judging")
    reply: dict[str, Any] = {}
    try:
        _do(Work(**request, judging=judging and Judging(**judging)))
    except ElectrifyError as problem:
        reply = {"error": type(problem).__name__, "message": str(problem)}
    except OSError as problem:
        reply = {"error": ElectrifyError.__name__, "message": f"{problem.filename}: {problem.strerror}."}
    except RunStopped as stopped:
        reply = {"error": RunStopped.__name__, "message": str(stopped), "signal_number": stopped.signal_number}
    with contextlib.suppress(BrokenPipeError), replies:  # whoever asked may be gone
        json.dump(reply, replies)


if __name__ == "__main__":
    main()
