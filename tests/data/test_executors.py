"""Waiting for a cluster until nobody writes into the folder any more. Slurm's programs are played."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from electrify.config import ExecutorConfig
from electrify.data import executors
from electrify.data.executors import run_tasks
from electrify.errors import DataError, ElectrifyError

# A job marks its tasks, and writes into the folder once more before it leaves the queue.
SBATCH = """#!{python}
import subprocess, sys
from pathlib import Path

here, folder = Path("{here}"), Path("{folder}")
with (here / "calls").open("a") as calls:
    calls.write("call\\n")
(here / "queue").write_text("7")
job = '''
import time
from pathlib import Path
time.sleep(0.2)
(Path("{folder}") / "completions").mkdir()
for task in range({done}):
    (Path("{folder}") / "completions" / f"{{task:05}}").touch()
time.sleep(0.6)
(Path("{folder}") / "late").touch()
(Path("{here}") / "queue").unlink()
'''
subprocess.Popen([sys.executable, "-c", job], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job 7")
"""
SQUEUE = """#!/bin/sh
cat "{here}/queue" 2>/dev/null
exit 0
"""


def step(_data: Any, _task: int, _tasks: int) -> Iterator[None]:
    yield from ()


def play_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, done: int) -> Path:
    """Put programs of Slurm's names into the path, for a job in which some tasks end well; return the job's folder."""
    folder, here = tmp_path / "job", tmp_path / "slurm"
    here.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE)):
        text = text.format(python=sys.executable, here=here, folder=folder, done=done)
        (here / name).write_text(text)
        (here / name).chmod(0o755)
    # Put in front of the folder of this interpreter, which the executor itself puts in front of all.
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(executors, "_LOOK_EVERY_S", 0.05)
    return folder


def test_the_folder_is_quiet_when_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("datatrove")
    folder = play_slurm(tmp_path, monkeypatch, done=3)
    run_tasks([step], tasks=3, processes=1, config=ExecutorConfig(kind="slurm"), folder=folder, label="test")
    assert (folder / "late").exists()
    assert not (tmp_path / "slurm" / "queue").exists()
    assert (tmp_path / "slurm" / "calls").read_text() == "call\n"  # no second job, which would write later still
    assert "datatrove" not in capfd.readouterr().err


def test_a_job_that_left_the_queue_without_all_marks_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datatrove")
    folder = play_slurm(tmp_path, monkeypatch, done=2)
    with pytest.raises(DataError, match=r"1 of 3 tasks failed; task 2: ended without a word in its log"):
        run_tasks([step], tasks=3, processes=1, config=ExecutorConfig(kind="slurm"), folder=folder, label="test")


def test_missing_slurm_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datatrove")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ElectrifyError, match=r"no program sbatch here\. .*leave out --executor\.kind"):
        run_tasks([step], tasks=1, processes=1, config=ExecutorConfig(kind="slurm"), folder=tmp_path / "job", label="x")


def test_a_job_that_slurm_does_not_take_is_said_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datatrove")
    folder = play_slurm(tmp_path, monkeypatch, done=0)
    programs = [Path(place) for place in os.environ["PATH"].split(os.pathsep) if (Path(place) / "sbatch").exists()]
    (programs[0] / "sbatch").write_text("#!/bin/sh\necho 'invalid partition' >&2\nexit 3\n")
    with pytest.raises(ElectrifyError, match=r"Slurm took no job \(sbatch, exit code 3\)"):
        run_tasks([step], tasks=3, processes=1, config=ExecutorConfig(kind="slurm"), folder=folder, label="test")
