"""One contender in a process of its own: it builds, then works when it is told to, and says how long that took.

`python -m electrify.bench.worker` reads lines of JSON and answers each with one. While it waits it uses no processor.
What the contender prints goes to standard error.

    {"source", "build", "work"}  → {"baseline_bytes", "threads"} or {"error"}
    {"first", "count"}           → {"seconds", "peak_bytes", "result"} or {"error"}
    {"inspect": true}            → {"result"} of the contender's `inspect`, null without one, or {"error"}
"""

import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from electrify.memory import peak_bytes


def load_module(source: str) -> ModuleType:
    """Import a module by its name, or a file by its path."""
    if not source.endswith(".py"):
        return importlib.import_module(source)
    spec = importlib.util.spec_from_file_location(Path(source).stem, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _serve(requests: TextIO, replies: TextIO) -> None:
    build = json.loads(requests.readline())
    module = load_module(build["source"])
    baseline = peak_bytes()  # libraries, before any network
    contender: Callable[[int], Any] = getattr(module, build["build"])(build["work"])
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1
    _answer(replies, {"baseline_bytes": baseline, "threads": threads})
    for line in requests:
        request = json.loads(line)
        if "inspect" in request:
            inspect = getattr(contender, "inspect", None)
            _answer(replies, {"result": inspect() if inspect else None})
            continue
        result = None
        start = time.perf_counter()
        for number in range(request["first"], request["first"] + request["count"]):
            result = contender(number)
        seconds = time.perf_counter() - start
        _answer(replies, {"seconds": seconds, "peak_bytes": peak_bytes(), "result": result})


def _answer(replies: TextIO, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def main() -> None:
    """Serve one parent until it closes the pipe."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        _serve(sys.stdin, replies)
    except Exception as problem:  # whatever a peer raises is the parent's to report
        import traceback

        traceback.print_exc()
        _answer(replies, {"error": f"{type(problem).__name__}: {problem}".splitlines()[0]})


if __name__ == "__main__":
    main()
