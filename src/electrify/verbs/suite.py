"""Fine-tune a model on all tasks of a suite, and put the scores of all models into one table.

    OUTPUT/MODEL/TASK/      what `finetune` writes; a task whose results are there is not done again
    OUTPUT/table.md, table.csv

Run it for another model with the same output, and the table has a row more.
"""

import logging
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrify.errors import ConfigError, ElectrifyError, did_you_mean
from electrify.files import read_json
from electrify.models.hub import resolve_folder
from electrify.progress import bar
from electrify.tasks.networks import Init
from electrify.verbs.finetune import SEEDS, finetune
from electrify.verbs.finetune_state import digest_inputs
from electrify.verbs.submit import write_submission
from electrify.verbs.suite_file import Suite, SuiteTask, load_suite
from electrify.verbs.suite_table import RESULTS, SuiteReport, write_tables
from electrify.verbs.together import TaskFiles, TogetherReport, finetune_together

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Job:
    model: str
    task: SuiteTask
    suite: Suite
    data: Path
    folder: Path
    seeds: Sequence[int]
    init: Init
    overrides: Mapping[str, Any]
    num_threads: int | None
    resume: bool


def run_suite(
    model: str | Path,
    suite: str | Path,
    *,
    data: str | Path,
    output: str | Path,
    name: str | None = None,
    seeds: Sequence[int] = SEEDS,
    init: Init = "pretrained",
    overrides: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    jobs: int = 1,
) -> SuiteReport:
    """Do `run_tasks`, whose arguments these are, and write the tables of all models in the output folder.

    Raises:
        ConfigError: If the suite or a setting is wrong.
        DataError: If a file can not be used. All tasks that can be done are done first, and the tables written.
    """
    loaded = load_suite(suite)
    try:
        run_tasks(
            model,
            suite,
            data=data,
            output=output,
            name=name,
            seeds=seeds,
            init=init,
            overrides=overrides,
            only=only,
            jobs=jobs,
        )
    except ElectrifyError:
        if Path(output).is_dir():
            write_tables(loaded, Path(output))
        raise
    return write_tables(loaded, Path(output))


def run_tasks(
    model: str | Path,
    suite: str | Path,
    *,
    data: str | Path,
    output: str | Path,
    name: str | None = None,
    seeds: Sequence[int] = SEEDS,
    init: Init = "pretrained",
    overrides: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    jobs: int = 1,
) -> None:
    """Fine-tune a model on the tasks of a suite that are not done yet; each leaves its folder, and nothing else.

    Args:
        model: Published folder or hub name.
        suite: A shipped suite's name or a TOML file.
        data: Folder that the suite's files lie in.
        output: Folder for all models that are compared.
        name: What the model is called in the table; its folder's name if not given. One row belongs to one model with
            one choice of settings and seeds.
        seeds: One run each for every task.
        init: "random" for a row of what pre-training is worth.
        overrides: Settings that replace the suite's.
        only: Tasks to do; all if empty.
        jobs: Tasks at a time, in processes of their own that share the processors.

    Raises:
        ConfigError: If the suite or a setting is wrong, or a task was done for this row with another model or others.
        DataError: If a file can not be used. All tasks that can be done are done first.
    """
    loaded = load_suite(suite)
    chosen = _chosen(loaded, only)
    row = name or (Path(model).resolve().name if Path(model).exists() else str(model).replace("/", "_"))
    threads = None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
    pending = [
        _Job(
            model=str(model) if task.after is None else str(Path(output) / row / task.after),
            task=task,
            suite=loaded,
            data=Path(data),
            folder=Path(output) / row / task.name,
            seeds=tuple(seeds),
            init=init if task.after is None else "pretrained",
            overrides=dict(overrides or {}),
            num_threads=threads,
            resume=True,
        )
        for task in chosen
        if not _is_done(Path(output) / row / task.name, task, Path(data))
    ]
    busy = {job.task.name for job in pending}
    for task in chosen:
        if task.name not in busy:
            asked = {"settings": loaded.config(task, overrides or {}).model_dump(mode="json"), "seeds": list(seeds)}
            if task.after is None:
                asked |= {"init": init, "model files": digest_inputs(resolve_folder(model), {})["model files"]}
            _refuse_other_request(Path(output) / row / task.name, asked)
    _LOG.info("%s: %d of %d tasks are to be done.", loaded.name, len(pending), len(chosen))
    failed: dict[str, ElectrifyError] = {}
    if jobs == 1:
        _run_in_turn(pending, failed)
    else:
        _run_in_processes(pending, jobs, failed)
    if failed:
        raise _summary(failed, len(pending))


def run_together(
    model: str | Path,
    suite: str | Path,
    *,
    data: str | Path,
    output: str | Path,
    seeds: Sequence[int] = SEEDS,
    overrides: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    temperature: float = 1.0,
    resume: bool = False,
    overwrite: bool = False,
) -> TogetherReport:
    """Fine-tune one body on the tasks of a suite at once; see `together.finetune_together`.

    The suite's settings hold, those of single tasks cannot.
    """
    loaded = load_suite(suite)
    files = [
        TaskFiles(
            name=task.name,
            kind=task.kind,
            train=Path(data) / task.train,
            validation=Path(data) / task.valid,
            test=None if task.test is None else Path(data) / task.test,
            fields=task.fields.resolve(),
            metric=task.metric,
            max_bad_share=task.max_bad_share,
        )
        for task in _chosen(loaded, only)
    ]
    config = loaded.config(SuiteTask(name="together", kind="", train="", valid=""), overrides or {})
    return finetune_together(
        model,
        files,
        output=output,
        seeds=seeds,
        config=config,
        temperature=temperature,
        resume=resume,
        overwrite=overwrite,
    )


def _is_done(folder: Path, task: SuiteTask, data: Path) -> bool:
    """Return whether a task has its results and all submissions whose test sets are there."""
    submissions = [one.file for one in task.submit if (data / one.data).exists()]
    return all((folder / name).exists() for name in (RESULTS, *submissions))


def _refuse_other_request(folder: Path, asked: dict[str, Any]) -> None:
    """Raise if what is done in a folder is not what is asked for; results from before they said so pass."""
    results = read_json(folder / RESULTS)
    done = {
        "settings": {key: results["settings"].get(key) for key in asked["settings"]},
        "seeds": [one["seed"] for one in results["seeds"]],
        "init": results["init"],
        "model files": results.get("inputs", {}).get("model files", asked.get("model files")),
    }
    remedy = "Give this row another --name, or choose another --output."
    for key, value in asked.items():
        if key == "model files" and done[key] != value:
            raise ConfigError(f"{folder}: done with another model. {remedy}")
        if key == "settings" and done[key] != value:
            name = next(name for name in value if value[name] != done[key][name])
            raise ConfigError(f"{folder}: done with {name} = {done[key][name]}, now it is {value[name]}. {remedy}")
        if done[key] != value:
            raise ConfigError(f"{folder}: done with {key} = {done[key]}, now it is {value}. {remedy}")


def _chosen(suite: Suite, only: Sequence[str]) -> list[SuiteTask]:
    names = [task.name for task in suite.task]
    for one in only:
        if one not in names:
            raise ConfigError(f"suite {suite.name} has no task '{one}'.{did_you_mean(one, names)}")
    return [task for task in suite.task if not only or task.name in only]


def _run_in_turn(pending: list[_Job], failed: dict[str, ElectrifyError]) -> None:
    """Run jobs one after the other; what fails is added to `failed`."""
    for job in pending:
        try:
            _check_before(job, failed)
            _run(job)
        except ElectrifyError as problem:
            _note(job, problem, failed)


def _run_in_processes(pending: list[_Job], jobs: int, failed: dict[str, ElectrifyError]) -> None:
    """Run jobs in processes; one that comes after another waits for it, and what fails is added to `failed`."""
    waiting = list(pending)
    running: dict[Future[None], _Job] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool, bar("Tasks", total=float(len(pending))) as progress:
        while waiting or running:
            busy = {job.task.name for job in (*waiting, *running.values())}
            for job in [job for job in waiting if job.task.after not in busy]:
                waiting.remove(job)
                try:
                    _check_before(job, failed)
                except ElectrifyError as problem:
                    _note(job, problem, failed)
                    progress.advance(1, text=job.task.name)
                else:
                    running[pool.submit(_run, job)] = job
            if not running:
                continue
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                try:
                    future.result()
                except ElectrifyError as problem:
                    _note(job, problem, failed)
                progress.advance(1, text=job.task.name)


def _check_before(job: _Job, failed: Mapping[str, ElectrifyError]) -> None:
    if job.task.after in failed:
        raise ConfigError(f"it begins with the network of {job.task.after}, which failed.")


def _note(job: _Job, problem: ElectrifyError, failed: dict[str, ElectrifyError]) -> None:
    _LOG.warning("%s failed: %s", job.task.name, problem)
    failed[job.task.name] = problem


def _summary(failed: Mapping[str, ElectrifyError], num_tasks: int) -> ElectrifyError:
    """Return one error for all, of the first one's type."""
    reasons = " ".join(f"{name}: {problem}" for name, problem in failed.items())
    kind = type(next(iter(failed.values())))
    rest = "; the others are done" if len(failed) < num_tasks else ""
    return kind(f"{len(failed)} of {num_tasks} tasks failed{rest}. {reasons}")


def _run(job: _Job) -> None:
    if job.num_threads is not None:
        import torch

        torch.set_num_threads(job.num_threads)
    task = job.task
    if not (job.folder / RESULTS).exists():
        finetune(
            job.model,
            train=job.data / task.train,
            validation=job.data / task.valid,
            test=None if task.test is None else job.data / task.test,
            output=job.folder,
            task=task.kind,
            init=job.init,
            seeds=job.seeds,
            config=job.suite.config(task, job.overrides),
            fields=task.fields.resolve(),
            max_bad_share=task.max_bad_share,
            resume=job.resume,
        )
    for submission in task.submit:
        if (job.data / submission.data).exists() and not (job.folder / submission.file).exists():
            write_submission(
                job.folder,
                job.data / submission.data,
                job.folder / submission.file,
                fields=(submission.fields or task.fields).resolve(),
            )
