"""The table of a suite, models by tasks, as one HTML file."""

from pathlib import Path

from electrify.report.page import Page, Table, write_page
from electrify.verbs.suite_table import TABLE_NOTE, SuiteReport, table_of


def write_suite_page(report: SuiteReport, path: Path) -> None:
    """Write the page.

    Raises:
        ElectrifyError: If jinja2 is not installed.
    """
    head, rows = table_of(report)
    write_page(
        Page(
            title=report.suite,
            subtitle=f"{len(rows)} models, {len(report.tasks)} tasks",
            tables=[Table("Scores", head, rows, TABLE_NOTE)],
        ),
        path,
    )
