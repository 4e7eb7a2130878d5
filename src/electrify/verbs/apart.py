"""A pre-training run in a process of its own, so that the memory it takes is its own.

In one process a run would begin with the peak of the runs before it, and with what their allocations left behind.

    standard input   {"recipe", "output", "overrides", "threads", "log_level", "shows_progress"}
    standard output  {} at the end, or {"error": a type of `errors`, "message", "signal_number"}

What the run says and its progress go to standard error, which is the parent's.
"""

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from electrify import progress
from electrify.errors import ElectrifyError, RunStopped, TrainingError
from electrify.training.signals import StopRequest, listen
from electrify.verbs.pretrain import pretrain

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2
_SIGNAL_AT_PARENTS_DEATH = 1
"""PR_SET_PDEATHSIG of Linux' prctl."""


def pretrain_apart(recipe: str | Path, *, output: str | Path, overrides: Mapping[str, Any]) -> None:
    """Do what `pretrain` with `resume` does, in a new process; its report is in `output`/results.json.

    Args:
        recipe: As for `pretrain`.
        output: As for `pretrain`.
        overrides: As for `pretrain`, JSON-able.

    Raises:
        RunStopped: If SIGTERM or SIGINT asked for an end; the run is saved.
        ElectrifyError: What `pretrain` raises; `TrainingError` if the process dies.
    """
    request = {
        "recipe": str(recipe),
        "output": str(output),
        "overrides": overrides,
        "threads": torch.get_num_threads(),
        "log_level": _LOG.getEffectiveLevel(),
        "shows_progress": progress.is_enabled(),
    }
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # a key pressed at the terminal comes to it once, through this process
    )
    try:
        with listen() as stop:
            reply = _converse(process, json.dumps(request), stop)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate()
    if reply or not stop:
        _raise_what(reply, process.returncode, Path(output))
    if stop:  # before the run listened, or when it was finished
        name = signal.Signals(stop.signal_number).name
        raise RunStopped(f"stopped by {name}. The same call goes on.", stop.signal_number)


def _converse(process: subprocess.Popen[str], request: str, stop: StopRequest) -> str:
    """Return what the process says at its end; a signal that comes meanwhile is passed on to it."""
    said: str | None = request
    is_told = False
    while True:
        try:
            return process.communicate(said, timeout=_POLL_S)[0]
        except subprocess.TimeoutExpired:
            said = None  # what was not yet taken of it is remembered
        if stop and not is_told:
            process.send_signal(stop.signal_number)
            is_told = True


def _raise_what(reply: str, code: int, output: Path) -> None:
    if not reply:
        why = " Perhaps it was out of memory." if code == -signal.SIGKILL else ""
        raise TrainingError(f"{output}: its process ended with code {code}.{why} The same call goes on with it.")
    problem = json.loads(reply)
    if problem.get("error") == RunStopped.__name__:
        raise RunStopped(problem["message"], problem["signal_number"])
    if problem:
        known = {kind.__name__: kind for kind in ElectrifyError.__subclasses__()}
        raise known.get(problem["error"], ElectrifyError)(problem["message"])


def main() -> None:
    """Do what standard input asks for."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if sys.platform == "linux":  # a parent that is killed can not say so
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM)
    request = json.load(sys.stdin)
    logging.basicConfig(level=request["log_level"], format="%(message)s", stream=sys.stderr)
    if request["shows_progress"]:
        progress.enable()
    torch.set_num_threads(request["threads"])
    reply: dict[str, Any] = {}
    try:
        pretrain(request["recipe"], output=request["output"], overrides=request["overrides"], resume=True)
    except ElectrifyError as problem:
        reply = {"error": type(problem).__name__, "message": str(problem)}
    except OSError as problem:
        reply = {"error": ElectrifyError.__name__, "message": f"{problem.filename}: {problem.strerror}."}
    except RunStopped as stopped:
        reply = {"error": RunStopped.__name__, "message": str(stopped), "signal_number": stopped.signal_number}
    with replies:
        json.dump(reply, replies)


if __name__ == "__main__":
    main()
