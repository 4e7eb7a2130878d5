import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from electrify.errors import ConfigError
from electrify.training.lock import RunLock


def leave_a_lock(folder: Path, *, host: str) -> Path:
    """What a process that was killed leaves behind."""
    folder.mkdir()
    path = folder / "lock"
    path.write_text(json.dumps({"host": host, "pid": 1, "since": "2026-01-01 00:00:00"}))
    return path


def test_lock_names_its_holder_and_is_gone_afterwards(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        with pytest.raises(ConfigError, match=f"in use by process {os.getpid()} on {os.uname().nodename} since"):
            RunLock(tmp_path).__enter__()
    assert not (tmp_path / "lock").exists()
    with RunLock(tmp_path):
        pass


def test_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from electrify.training.lock import RunLock
RunLock(Path({str(tmp_path)!r})).__enter__()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert (tmp_path / "lock").exists()
    with RunLock(tmp_path):
        pass


def test_stale_lock_of_this_host_is_taken_over(tmp_path: Path) -> None:
    leave_a_lock(tmp_path / "run", host=os.uname().nodename)
    with RunLock(tmp_path / "run"):
        pass


def test_lock_of_another_host_holds_while_it_is_touched(tmp_path: Path) -> None:
    path = leave_a_lock(tmp_path / "run", host="elsewhere")
    with pytest.raises(ConfigError, match="in use by process 1 on elsewhere"):
        RunLock(tmp_path / "run").__enter__()
    with RunLock(tmp_path / "run", takes_over=True):  # a restart of the same run
        pass
    path = leave_a_lock(tmp_path / "old", host="elsewhere")
    os.utime(path, (0, 0))
    with RunLock(tmp_path / "old") as lock:
        lock.touch()
        assert path.stat().st_mtime > 1e9


def test_folder_that_nothing_came_of_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path / "run"):
        raise ZeroDivisionError
    assert not (tmp_path / "run").exists()
