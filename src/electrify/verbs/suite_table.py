"""The table of a suite: the scores of all models of an output folder, models by tasks."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from electrify.files import read_json, write_text
from electrify.verbs.suite_file import Suite, SuiteTask

RESULTS = "results.json"
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


def write_tables(suite: Suite, output: Path) -> SuiteReport:
    """Gather what is in an output folder, and write its tables.

    Args:
        suite: Which tasks, in which order.
        output: Folder of the models.
    """
    scores: Scores = {}
    for folder in sorted(path for path in output.iterdir() if path.is_dir()) if output.is_dir() else []:
        cells = {
            task.name: _cells(read_json(folder / task.name / RESULTS), task)
            for task in suite.task
            if (folder / task.name / RESULTS).exists()
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
