"""A fine-tuned network's evaluation as one HTML file: scores, intervals, seeds, classes, confusion, worst errors."""

from pathlib import Path
from typing import Any

from electrify.files import read_json
from electrify.report import charts
from electrify.report.drawing import Picture
from electrify.report.page import Page, Table, write_page
from electrify.verbs.evaluate import Evaluation


def write_evaluation_page(folder: str | Path, data: str | Path, evaluation: Evaluation, path: Path) -> None:
    """Write the page.

    Args:
        folder: The fine-tuned network; the seeds of its `results.json` are shown if it is there.
        data: What it was measured on, for the title.
        evaluation: The figures.
        path: The `.html` file.

    Raises:
        ElectrifyError: If jinja2 or matplotlib is not installed.
    """
    results_file = Path(folder) / "results.json"
    results = read_json(results_file) if results_file.exists() else {}
    write_page(
        Page(
            title=f"{Path(folder).name}: {evaluation.task.replace('_', ' ')}",
            subtitle=f"{evaluation.num_examples:,} examples of {data}",
            tables=_tables(evaluation, results),
            pictures=_pictures(evaluation, results),
        ),
        path,
    )


def _pictures(evaluation: Evaluation, results: dict[str, Any]) -> list[Picture]:
    pictures = []
    rows = {name: (one.value, one.low, one.high) for name, one in evaluation.intervals.items() if abs(one.value) <= 1}
    if rows:
        caption = "Dots: values; bars: 95 % of a thousand draws of the examples."
        pictures.append(charts.draw_intervals(rows, title="Scores", caption=caption))
    seeds = results.get("seeds", [])
    if len(seeds) and seeds[0]["history"]:
        history = {one["seed"]: one["history"] for one in seeds}
        pictures.append(charts.draw_seeds(history, str(results["metric"])))
    if len(evaluation.classes) > 1:
        pictures.append(charts.draw_classes({name: one.f1 for name, one in evaluation.classes.items()}))
    confusion = charts.draw_confusion(evaluation.confusion) if evaluation.confusion else None
    if confusion is not None:
        pictures.append(confusion)
    if evaluation.calibration is not None:
        pictures.append(charts.draw_calibration(evaluation.calibration))
    return pictures


def _tables(evaluation: Evaluation, results: dict[str, Any]) -> list[Table]:
    tables = [
        Table(
            "Scores",
            ["metric", "value", "95 % interval"],
            [
                [name, f"{one.value:.4f}", f"{one.low:.4f} to {one.high:.4f}"]
                for name, one in evaluation.intervals.items()
            ],
        )
    ]
    summary = results.get("validation_metrics", {})
    if summary:
        rows = [
            [
                name,
                f"{one['mean']:.4f}" + (f" ± {one['std']:.4f}" if one["std"] is not None else ""),
                f"{one['median']:.4f}",
                ", ".join(f"{value:.4f}" for value in one["values"]),
            ]
            for name, one in summary.items()
        ]
        tables.append(Table("Seeds, on the validation part of the run", ["metric", "mean", "median", "all"], rows))
    one_run = evaluation.comparison
    if one_run is not None:
        low, high = one_run.difference.low, one_run.difference.high
        row = [
            one_run.metric,
            f"{one_run.value:.4f}",
            f"{one_run.baseline:.4f}",
            f"{one_run.difference.value:+.4f} ({low:+.4f} to {high:+.4f})",
            f"{one_run.p_value:.3f}",
        ]
        tables.append(Table("Against the baseline", ["metric", "this", "baseline", "difference", "p"], [row]))
    if evaluation.classes:
        tables.append(
            Table(
                "Classes",
                ["class", "precision", "recall", "F1", "number"],
                [
                    [name, f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}", f"{one.count:,}"]
                    for name, one in evaluation.classes.items()
                ],
            )
        )
    if evaluation.mistakes:
        tables.append(
            Table(
                "Worst errors",
                ["place", "right", "predicted", "text"],
                [[one.place.rsplit("/", 1)[-1], one.right, one.predicted, one.text] for one in evaluation.mistakes],
            )
        )
    return tables
