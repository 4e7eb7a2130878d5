"""Run the tasks of a pipeline on this machine, on a Slurm or on a Ray cluster: datatrove's executors, waited for.

A pipeline is a list of steps, each called with what the one before yields, the task's number and the number of tasks.
Finished tasks are marked in the folder, so a call that was interrupted goes on where it stopped.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from electrify import progress
from electrify.config import ExecutorConfig
from electrify.errors import DataError, ElectrifyError

_ERROR = re.compile(r"[\w.]+(Error|Exception): ")  # the last line of a traceback

Step = Callable[[Any, int, int], Any]

_LOOK_EVERY_S = 1.0
_GONE_AFTER_LOOKS = 5  # times that a job must be missing from the queue: files may show up late on shared folders


def run_tasks(
    steps: Sequence[Step], *, tasks: int, processes: int, config: ExecutorConfig, folder: Path, label: str
) -> None:
    """Run all tasks and wait for them.

    Args:
        steps: The pipeline.
        tasks: Number of tasks.
        processes: local: processes at the same time; 1 works in this one.
        config: Where to run.
        folder: For marks and logs; all machines see it.
        label: Shown with the progress.

    Raises:
        DataError: If a task failed.
        ElectrifyError: If datatrove or the cluster's program is not installed.
    """
    if config.kind == "local" and processes == 1:
        run_here(steps, tasks=tasks, folder=folder, ranks=range(tasks))
        return
    executor = _executor(steps, tasks, processes, config, folder)
    with _watched(folder, tasks, label):
        _start(executor)
        if config.kind == "slurm":
            _wait_for_slurm(folder, tasks, executor.job_id)
    _require_all(folder, tasks)


def _start(executor: Any) -> None:
    try:
        executor.run()
    except FileNotFoundError as problem:
        if problem.filename != "sbatch":
            raise
        raise ElectrifyError(
            "executor.kind is slurm, but there is no program sbatch here. Start this where Slurm's programs are "
            "installed, as on a login node, or leave out --executor.kind to work on this machine."
        ) from None
    except subprocess.CalledProcessError as problem:
        said = (problem.stderr or problem.output or b"").strip()
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise ElectrifyError(f"Slurm took no job (sbatch, exit code {problem.returncode}). {said}".strip()) from None


def run_here(steps: Sequence[Step], *, tasks: int, folder: Path, ranks: Iterable[int]) -> None:
    """Run some of the tasks in this process, one after another, but for those that are done.

    Args:
        steps: The pipeline.
        tasks: Number of all tasks.
        folder: For marks.
        ranks: Which tasks.
    """
    _silence()
    (folder / "completions").mkdir(parents=True, exist_ok=True)
    for task in ranks:
        mark = folder / "completions" / f"{task:05}"  # as datatrove names them
        if mark.exists():
            continue
        data: Any = None
        for step in steps:
            data = step(data, task, tasks)
        deque(data or (), maxlen=0)
        mark.touch()


def _executor(steps: Sequence[Step], tasks: int, processes: int, config: ExecutorConfig, folder: Path) -> Any:
    try:
        from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
    except ImportError:
        raise ElectrifyError("datatrove is not installed: pip install 'electrify[scale]'.") from None

    class QuietLocalExecutor(LocalPipelineExecutor):  # type: ignore[misc]
        def _run_for_rank(self, *arguments: Any, **settings: Any) -> Any:
            _silence()
            return super()._run_for_rank(*arguments, **settings)

    class LoneSlurmExecutor(SlurmPipelineExecutor):  # type: ignore[misc]
        def launch_merge_stats(self) -> None:
            """Start no second job, which would write a summary that nobody reads when the folder may be gone."""

    _silence()
    workers = config.workers or -1
    common: dict[str, Any] = {"pipeline": list(steps), "tasks": tasks, "logging_dir": str(folder)}
    if config.kind == "local":
        return QuietLocalExecutor(**common, workers=min(processes, tasks))
    if config.kind == "ray":
        _start_ray()
        return RayPipelineExecutor(**common, workers=workers, mem_per_cpu_gb=config.memory_gb)
    # Jobs find datatrove's starter and electrify where this process has them.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return LoneSlurmExecutor(
        **common,
        workers=workers,
        partition=config.partition,
        time=config.time_limit,
        mem_per_cpu_gb=config.memory_gb,
        qos=None,
        job_name="electrify-prepare",
    )


def _silence() -> None:
    """Stop datatrove from writing to the terminal; it does even when it is imported."""
    try:
        from loguru import logger
    except ImportError:  # nothing that would write is installed
        return
    logger.disable("datatrove")


def _start_ray() -> None:
    try:
        import ray
    except ImportError:
        raise ElectrifyError("ray is not installed: pip install ray.") from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)  # the cluster of RAY_ADDRESS, or one on this machine


def _num_done(folder: Path) -> int:
    return len(list((folder / "completions").glob("*"))) if (folder / "completions").is_dir() else 0


@contextmanager
def _watched(folder: Path, tasks: int, label: str) -> Iterator[None]:
    """Show how many tasks are done, whoever does them."""
    is_over = threading.Event()

    def watch() -> None:
        with progress.bar(label, total=float(tasks)) as bar:
            while not is_over.wait(_LOOK_EVERY_S):
                bar.advance(_num_done(folder) - bar.done, text=f"{_num_done(folder)} of {tasks} tasks")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def _wait_for_slurm(folder: Path, tasks: int, job_id: str | int) -> None:
    """Return when the job has left the queue: a task may still write its log when its mark is there."""
    missing = 0
    while True:
        queue = subprocess.run(
            ["squeue", "--noheader", "--job", str(job_id)],  # noqa: S607 - as Slurm's users have it in their path
            capture_output=True,
            text=True,
            check=False,
        )
        missing = 0 if queue.stdout.strip() else missing + 1
        if missing >= _GONE_AFTER_LOOKS or (missing and _num_done(folder) >= tasks):
            return
        time.sleep(_LOOK_EVERY_S)


def _require_all(folder: Path, tasks: int) -> None:
    missing = [task for task in range(tasks) if not (folder / "completions" / f"{task:05}").exists()]
    if missing:
        raise DataError(
            f"{len(missing)} of {tasks} tasks failed; task {missing[0]}: {_last_error(folder, missing[0])} "
            f"The logs are in {folder}. The same command again does only those that are missing."
        )


def _last_error(folder: Path, task: int) -> str:
    log = folder / "logs" / f"task_{task:05}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    errors = [line for line in lines if _ERROR.match(line)]
    return _ERROR.sub("", errors[-1]) if errors else "ended without a word in its log."
