"""Fine-tune a model on all tasks of a suite, and put the scores of all models into one table.

    OUTPUT/MODEL/TASK/      what `finetune` writes; a task whose results are there is not done again
    OUTPUT/table.md, table.csv

Run it for another model with the same output, and the table has a row more.
"""

import csv
import io
import logging
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from electrify.errors import ConfigError, did_you_mean
from electrify.files import read_json, write_text
from electrify.progress import bar
from electrify.tasks.networks import Init
from electrify.verbs.finetune import SEEDS, finetune
from electrify.verbs.submit import write_submission
from electrify.verbs.suite_file import Suite, SuiteTask, load_suite
from electrify.verbs.together import TaskFiles, TogetherReport, finetune_together

_LOG = logging.getLogger(__name__)
_RESULTS = "results.json"
TABLE_NOTE = "In per cent: mean ± sample standard deviation over the seeds."


@dataclass(frozen=True, slots=True)
class Cell:
    """A model's score on a task, by one metric."""

    part: str
    """"test" if the suite names a test set, else "validation"."""
    mean: float
    std: float | None
    num_seeds: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: a task by one of its metrics."""

    task: str
    metric: str
    """Empty while no model has done the task and the suite names none."""
    part: str
    """Empty while no model has done the task."""

    @property
    def head(self) -> str:
        """Return what stands above it."""
        return f"{self.task} {self.metric}, {self.part}" if self.part else self.task


Scores = dict[str, dict[str, dict[str, Cell]]]
"""By model, task, metric."""


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """All models of an output folder."""

    output: str
    suite: str
    tasks: list[str]
    columns: list[Column]
    scores: Scores
    """By model, task, metric; a task that is not done yet is not there."""
    table: str
    """The table in Markdown."""


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
    """Fine-tune a model on the tasks of a suite that are not done yet.

    Args:
        model: Published folder or hub name.
        suite: A shipped suite's name or a TOML file.
        data: Folder that the suite's files lie in.
        output: Folder for all models that are compared.
        name: What the model is called in the table; its folder's name if not given.
        seeds: One run each for every task.
        init: "random" for a row of what pre-training is worth.
        overrides: Settings that replace the suite's.
        only: Tasks to do; all if empty.
        jobs: Tasks at a time, in processes of their own that share the processors.

    Raises:
        ConfigError: If the suite or a setting is wrong.
        DataError: If a file can not be used.
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
        if not (Path(output) / row / task.name / _RESULTS).exists()
    ]
    _LOG.info("%s: %d of %d tasks are to be done.", loaded.name, len(pending), len(chosen))
    if jobs == 1:
        for job in pending:
            _run(job)
    else:
        _run_in_processes(pending, jobs)
    return write_tables(loaded, Path(output))


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


def _chosen(suite: Suite, only: Sequence[str]) -> list[SuiteTask]:
    names = [task.name for task in suite.task]
    for one in only:
        if one not in names:
            raise ConfigError(f"suite {suite.name} has no task '{one}'.{did_you_mean(one, names)}")
    return [task for task in suite.task if not only or task.name in only]


def _run_in_processes(pending: list[_Job], jobs: int) -> None:
    """Run jobs in processes; one that comes after another waits for it."""
    waiting = list(pending)
    running: dict[Future[None], _Job] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool, bar("Tasks", total=float(len(pending))) as progress:
        while waiting or running:
            busy = {job.task.name for job in (*waiting, *running.values())}
            ready = [job for job in waiting if job.task.after not in busy]
            for job in ready:
                waiting.remove(job)
                running[pool.submit(_run, job)] = job
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                future.result()
                progress.advance(1, text=job.task.name)


def _run(job: _Job) -> None:
    if job.num_threads is not None:
        import torch

        torch.set_num_threads(job.num_threads)
    task = job.task
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
        if (job.data / submission.data).exists():
            write_submission(
                job.folder,
                job.data / submission.data,
                job.folder / submission.file,
                fields=(submission.fields or task.fields).resolve(),
            )


def write_tables(suite: Suite, output: Path) -> SuiteReport:
    """Gather what is in an output folder, and write its tables.

    Args:
        suite: Which tasks, in which order.
        output: Folder of the models.
    """
    scores: Scores = {}
    for folder in sorted(path for path in output.iterdir() if path.is_dir()) if output.is_dir() else []:
        cells = {
            task.name: _cells(read_json(folder / task.name / _RESULTS), task)
            for task in suite.task
            if (folder / task.name / _RESULTS).exists()
        }
        if cells:
            scores[folder.name] = cells
    columns = [column for task in suite.task for column in _columns(task, scores)]
    report = SuiteReport(str(output), suite.name, [task.name for task in suite.task], columns, scores, "")
    report = replace(report, table=_markdown(report))
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "table.md", f"# {suite.name}\n\n{report.table}")
    write_text(output / "table.csv", _csv(scores))
    return report


def _cells(results: dict[str, Any], task: SuiteTask) -> dict[str, Cell]:
    """Return the scores of a task that are shown; one that depends on labels which it has not is left out."""
    part = "test" if results.get("test") else "validation"
    summaries = {results["metric"]: results[part], **results.get(f"{part}_metrics", {})}
    return {
        name: Cell(part, one["mean"], one["std"], len(one["values"]))
        for name in task.shown or (results["metric"],)
        if (one := summaries.get(name)) is not None
    }


def _columns(task: SuiteTask, scores: Scores) -> list[Column]:
    done = next((cells[task.name] for cells in scores.values() if cells.get(task.name)), None)
    if done is None:
        return [Column(task.name, name, "") for name in task.shown or (task.metric or "",)]
    return [Column(task.name, name, cell.part) for name, cell in done.items()]


def table_of(report: SuiteReport) -> tuple[list[str], list[list[str]]]:
    """Return the heads of the table and its rows, one a model: scores in per cent, and their mean.

    The mean is over the tasks; of a task with several metrics their mean counts, as GLUE has it. It is "–" while a
    task is missing, as is a score.
    """
    rows = [
        [
            model,
            *(_text(cells.get(column.task, {}).get(column.metric)) for column in report.columns),
            _mean([cells.get(task, {}) for task in report.tasks]),
        ]
        for model, cells in report.scores.items()
    ]
    return ["model", *(column.head for column in report.columns), "mean"], rows


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return f"{100 * cell.mean:.1f}" + (f" ± {100 * cell.std:.1f}" if cell.std is not None else "")


def _mean(tasks: Sequence[Mapping[str, Cell]]) -> str:
    if not all(tasks):
        return "–"
    return f"{100 * fmean(fmean(cell.mean for cell in cells.values()) for cells in tasks):.1f}"


def _markdown(report: SuiteReport) -> str:
    head, rows = table_of(report)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{TABLE_NOTE}\n"


def _csv(scores: Scores) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "task", "part", "metric", "mean", "std", "num_seeds"])
    for model, tasks in scores.items():
        for task, cells in tasks.items():
            for metric, cell in cells.items():
                std = "" if cell.std is None else cell.std
                writer.writerow([model, task, cell.part, metric, cell.mean, std, cell.num_seeds])
    return buffer.getvalue()
