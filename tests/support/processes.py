"""Runs in processes of their own: one, or several under torchrun."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.runs import settings

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "GLOO_SOCKET_IFNAME": "lo"}


def words(overrides: dict[str, Any]) -> list[str]:
    """Overrides as options of the command line."""
    return [
        f"--{section}.{key}={str(value).lower() if isinstance(value, bool) else value}"
        for section, values in overrides.items()
        for key, value in values.items()
    ]


def start(
    shards: Path, output: Path, *options: str, processes: int = 1, restarts: int = 0, **sections: Any
) -> subprocess.Popen[str]:
    """Start a run of the kind that `support.runs.run` makes."""
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
        launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=127.0.0.1", "-m"]
    command = [*launcher, "electrify", "pretrain", "tiny", "--json", f"--output={output}"]
    return subprocess.Popen(
        [*command, *words(settings(shards, **sections)), *options],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], *, seconds: float = 90) -> str:
    """Wait for a process and return its standard error; it is killed when the time is over."""
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def wait_until(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    """Return the condition's value as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def worker(launcher: subprocess.Popen[str], rank: int) -> int:
    """Process id of the worker with a rank, of those that a torchrun started."""

    def found() -> int | None:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                environment = (path / "environ").read_bytes().split(b"\0")
            except (OSError, ValueError, IndexError):
                continue
            if parent == launcher.pid and f"RANK={rank}".encode() in environment:
                return int(path.name)
        return None

    return int(wait_until(found))
