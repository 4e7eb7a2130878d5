"""The shipped sbatch file on two nodes of Slurm: a worker that is killed is started again, and nothing differs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import slurm
from support.processes import ENVIRONMENT, wait_until, words
from support.runs import assert_same_run, settings

FILE = Path(__file__).parents[2] / "deploy/pretrain.sbatch"
OPTIONS: dict[str, Any] = {
    "model": {"dropout": 0.1, "attention_dropout": 0.1},
    "logging": {"every_steps": 1, "tensorboard": False},
    "schedule": {"num_steps": 60},
    "checkpoint": {"every_steps": 2},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if reason := slurm.reason_to_skip():
        pytest.skip(reason)
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        yield {**environment, **ENVIRONMENT, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}


def submit(cluster: dict[str, str], shards: Path, output: Path) -> subprocess.Popen[str]:
    """Start a job of two nodes with one process each; the command ends with the job."""
    options = words(settings(shards, **OPTIONS))
    options = [option for option in options if not option.startswith("--data.path")]
    asked = ["--gpus-per-node=0", "--cpus-per-task=1", "--time=5", f"--output={output}.log"]
    command = ["sbatch", "--wait", *asked, FILE, "tiny", shards, output, *options]
    return subprocess.Popen(command, env=cluster, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(job: subprocess.Popen[str], output: Path) -> str:
    """Wait for a job that must end well, and return what its processes said."""
    said = job.communicate(timeout=130)[0]
    log = Path(f"{output}.log")
    text = log.read_text() if log.exists() else ""
    assert job.returncode == 0, said + text[-3000:]
    return text


def worker(output: Path, rank: int) -> int | None:
    """Process id of a worker of a job, once it is there."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words_of, environment = ((path / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        if f"--output={output}".encode() in words_of and f"RANK={rank}".encode() in environment:
            return int(path.name)
    return None


def test_job_of_the_shipped_file_outlives_a_killed_worker(
    cluster: dict[str, str], shards: Path, tmp_path: Path
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    finish(submit(cluster, shards, undisturbed), undisturbed)
    job = submit(cluster, shards, killed)
    wait_until(lambda: list((killed / "state").glob("step-0000000[4-9]")))
    os.kill(wait_until(lambda: worker(killed, 1)), signal.SIGKILL)
    said = finish(job, killed)
    assert said.count("Continuing from step") == 1
    assert_same_run(killed, undisturbed)
