"""One run at a time in a folder.

The lock is the kernel's (`flock`), so it ends with the process that held it, however that ended. The file says who
holds it. Where a file system does not pass locks on to other hosts, the time of the file tells: its holder touches it,
and one that is another host's and was not touched for two minutes is stale.
"""

import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from electrify.errors import ConfigError

NAME = "lock"
_STALE_SECONDS = 120.0
_TOUCH_SECONDS = 10.0


class RunLock:
    """Hold a run's folder. A context manager.

    Args:
        folder: Made if it does not exist.
        takes_over: Whether this process continues the work of the one whose name is still in the file.

    Raises:
        ConfigError: On entering, if another process holds it.
    """

    def __init__(self, folder: Path, *, takes_over: bool = False) -> None:
        self._path = folder / NAME
        self._takes_over = takes_over
        self._touched = 0.0
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _read(descriptor)
                os.close(descriptor)
                raise ConfigError(self._refusal(holder)) from None
            if _is_file(descriptor, self._path):
                break
            os.close(descriptor)  # its holder removed it in between
        holder = _read(descriptor)
        age = time.time() - os.fstat(descriptor).st_mtime
        is_elsewhere = bool(holder) and holder["host"] != os.uname().nodename
        if is_elsewhere and age < _STALE_SECONDS and not self._takes_over:
            os.close(descriptor)
            raise ConfigError(self._refusal(holder))
        self._descriptor = descriptor
        content = {"host": os.uname().nodename, "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(content).encode(), 0)
        return self

    def touch(self) -> None:
        """Say that this process still works; cheap enough for every step."""
        if time.monotonic() - self._touched > _TOUCH_SECONDS:
            self._touched = time.monotonic()
            os.utime(self._descriptor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        if error is not None and not any(self._path.parent.iterdir()):
            self._path.parent.rmdir()  # nothing came of it

    def _refusal(self, holder: dict[str, Any]) -> str:
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}" if holder else "another process"
        return (
            f"{self._path.parent}: in use by {who}. Wait for it, stop it, or choose another --output; if it no longer "
            f"runs, remove {self._path}."
        )


def _read(descriptor: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    is_ours = isinstance(holder, dict) and {"host", "pid", "since"} <= holder.keys()
    return holder if is_ours else {}


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
