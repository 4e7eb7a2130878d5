"""Comparing ways of pre-training: the command `compare`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from electrify.cli.app import Json, app, show


@app.command
def compare(
    comparison: str,
    /,
    *,
    data_path: Annotated[str, Parameter(name="--data.path")],
    tasks: Path,
    output: Path,
    jobs: int = 1,
    json: Json = False,
) -> None:
    """Pre-train variants at an equal budget over several seeds, fine-tune each, and report which is better.

    The same call goes on where it was interrupted.

    Args:
        comparison: body, families, generator-size, masking, objectives, objectives-mini, optimization, recipe,
            sizes, or a TOML file (docs/compare.md).
        data_path: Shard folder that all are trained on.
        tasks: Folder that the suite's files lie in.
        output: Folder for the runs and the report.
        jobs: Runs at a time, which share the processors: sooner done where networks are small. Not with minutes.
    """
    from electrify.report.comparison_page import write_comparison_page
    from electrify.verbs.compare import compare as run

    report = run(comparison, data=data_path, tasks=tasks, output=output, jobs=jobs)
    write_comparison_page(report, output / "report.html")
    show(report, as_json=json, lines=[(output / "report.md").read_text(encoding="utf-8")])
