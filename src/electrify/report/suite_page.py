"""The table of a suite, models by tasks, as one HTML file."""

from pathlib import Path

from electrify.report.page import Page, Table, write_page
from electrify.verbs.suite import SuiteReport, cell_text, header_texts, mean_text


def write_suite_page(report: SuiteReport, path: Path) -> None:
    """Write the page.

    Raises:
        ElectrifyError: If jinja2 is not installed.
    """
    rows = [
        [model, *(cell_text(cells.get(name)) for name in report.tasks), mean_text(report.tasks, cells)]
        for model, cells in report.scores.items()
    ]
    note = "In per cent: mean ± sample standard deviation over the seeds."
    write_page(
        Page(
            title=report.suite,
            subtitle=f"{len(rows)} models, {len(report.tasks)} tasks",
            tables=[Table("Scores", header_texts(report.tasks, report.scores), rows, note)],
        ),
        path,
    )
