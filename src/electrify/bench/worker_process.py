"""The parent's end of one contender's process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from electrify.bench.peers import Contender
from electrify.errors import ElectrifyError


class BenchError(ElectrifyError):
    """A contender could not be measured."""


class WorkerProcess:
    """A process that runs `electrify.bench.worker` for one contender; a context that ends it.

    Args:
        contender: Who.
        work: What it is to work on, as JSON.

    Raises:
        BenchError: If it can not be built.
    """

    def __init__(self, contender: Contender, work: dict[str, Any]) -> None:
        self._name = contender.name
        package = Path(__file__).parents[2]  # another interpreter has not installed it; the worker needs nothing else
        self._process = subprocess.Popen(
            [contender.python or sys.executable, "-m", "electrify.bench.worker"],
            env=dict(os.environ, PYTHONPATH=str(package)) if contender.python else None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            built = self.ask(
                {"source": contender.source, "build": contender.build, "work": {**work, "variant": contender.variant}}
            )
        except BenchError:
            self._end()
            raise
        self.baseline_bytes: int = built["baseline_bytes"]
        self.threads: int = built["threads"]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            BenchError: If the process answers with an error, or ends.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; what it said last is read now
        line = self._process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": f"ended with code {self._process.wait()}"}
        if "error" in reply:
            raise BenchError(f"{self._name}: {reply['error']}")
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
