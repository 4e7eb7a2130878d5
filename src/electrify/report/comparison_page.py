"""A comparison as one HTML file: scores with their spread, curves against compute, cost, held-out figures, tests."""

from pathlib import Path
from statistics import fmean

from electrify.report.charts import draw_intervals
from electrify.report.curves import draw_lines
from electrify.report.drawing import Picture
from electrify.report.page import FIGURES, Page, Table, write_page
from electrify.verbs.comparison_tables import (
    ComparisonReport,
    cost_table,
    diagnostics_table,
    figure_names,
    notes,
    score_table,
    spread,
    tests_table,
)

_COMPUTE = "operations, counted from the config"


def write_comparison_page(report: ComparisonReport, path: Path) -> None:
    """Write the page. Every figure has its numbers in `figures/` beside it.

    Raises:
        ElectrifyError: If jinja2 or matplotlib is not installed.
    """
    tables = [
        Table("Scores", *score_table(report), note=" ".join(notes(report))),
        Table("Cost", *cost_table(report), note="Means over the seeds; of memory the highest."),
        Table("Held-out figures of pre-training", *diagnostics_table(report), note="At the end of each run."),
        Table("Paired tests", *tests_table(report)),
    ]
    subtitle = f"{len(report.variants)} variants, {len(report.seeds)} seeds, {report.budget} each, suite {report.suite}"
    write_page(Page(title=report.name, subtitle=subtitle, tables=tables, pictures=_pictures(report)), path)


def _pictures(report: ComparisonReport) -> list[Picture]:
    rows = {}
    for name in report.variants:
        mean, deviation = spread([100 * run.mean for run in report.of(name)])
        rows[name] = (mean, mean - deviation, mean + deviation)
    caption = "Mean over the tasks, in per cent; bars: ± a sample standard deviation over the seeds. figures/scores.csv"
    pictures = [draw_intervals(rows, title="Scores", caption=caption)]
    finals = {name: [(run.flops, 100 * run.mean) for run in report.of(name)] for name in report.variants}
    pictures.append(
        draw_lines(
            finals, title="Score and compute", x_label=_COMPUTE, y_label="mean score, %", is_scatter=True,
            caption="One dot a run, at the end of pre-training. figures/scores.csv",
        )
    )  # fmt: skip
    for figure in figure_names(report):
        title, unit, caption = FIGURES.get(figure, ("", "", ""))
        lines = {name: points for name in report.variants if (points := _curve(report, name, figure))}
        if title and lines:
            caption = f"{caption} Held out, mean over the seeds. figures/{figure}.csv"
            pictures.append(draw_lines(lines, title=title, x_label=_COMPUTE, y_label=unit, caption=caption))
    return pictures


def _curve(report: ComparisonReport, variant: str, figure: str) -> list[tuple[float, float]]:
    """Return the mean over the seeds at each step that all of them have measured."""
    runs = report.of(variant)
    by_seed = [{point["step"]: point for point in run.curve if figure in point} for run in runs]
    shared = [step for step in by_seed[0] if all(step in points for points in by_seed)]
    return [(by_seed[0][step]["flops"], fmean(points[step][figure] for points in by_seed)) for step in shared]
