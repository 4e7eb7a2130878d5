"""What a comparison found, as tables, and the files that hold them."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from electrify.files import write_text
from electrify.verbs.comparison_tests import MEAN, PairedTest, Run

_FEW_SEEDS = 6
_TEST_COLUMNS = ("variant", "baseline", "task", "difference", "low", "high", "p_value", "num_seeds")


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """All runs of a comparison."""

    output: str
    name: str
    budget: str
    seeds: list[int]
    finetuning_seeds: list[int]
    suite: str
    tasks: list[str]
    runs: list[Run]
    tests: list[PairedTest]

    @property
    def variants(self) -> list[str]:
        """Names in the order of the file."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    def of(self, variant: str) -> list[Run]:
        """Return the runs of a variant."""
        return [run for run in self.runs if run.variant == variant]


def score_table(report: ComparisonReport) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows, one a variant: scores in per cent, their mean, and the test of the mean."""
    tests = {test.variant: test for test in report.tests if test.task == MEAN}
    rows = []
    for name in report.variants:
        runs = report.of(name)
        cells = [_spread([100 * run.score(task) for run in runs], ".1f") for task in (*report.tasks, MEAN)]
        rows.append([name, *cells, *_test_cells(tests.get(name)), *_cost_cells(runs)])
    return ["variant", *report.tasks, MEAN, *_test_heads(report), "tokens/s", "peak MB"], rows


def tests_table(report: ComparisonReport) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of all paired tests."""
    return ["variant", "task", *_test_heads(report)], [
        [test.variant, test.task, *_test_cells(test)] for test in report.tests
    ]


def cost_table(report: ComparisonReport) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of what the runs cost, means over the seeds."""
    rows = []
    for name in report.variants:
        runs = report.of(name)
        rows.append(
            [
                name,
                runs[0].kind,
                f"{fmean(run.steps for run in runs):,.0f}",
                f"{fmean(run.tokens for run in runs):,.0f}",
                f"{fmean(run.flops for run in runs):.4g}",
                f"{fmean(run.seconds for run in runs):,.1f}",
                *_cost_cells(runs),
            ]
        )
    return ["variant", "objective", "steps", "tokens", "operations", "seconds", "tokens/s", "peak MB"], rows


def diagnostics_table(report: ComparisonReport) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the held-out figures at the end of pre-training; an empty cell is one not measured."""
    names = figure_names(report)
    rows = []
    for variant in report.variants:
        runs = report.of(variant)
        cells = []
        for name in names:
            values = [value for run in runs if (value := run.validation.get(name)) is not None]
            cells.append(_spread(values, ".4f") if len(values) == len(runs) else "")
        rows.append([variant, *cells])
    return ["variant", *names], rows


def figure_names(report: ComparisonReport) -> list[str]:
    """Return the held-out figures that any run has."""
    return list(dict.fromkeys(name for run in report.runs for name in run.validation))


def notes(report: ComparisonReport) -> list[str]:
    """Return what a reader must know of the figures."""
    number, first = len(report.seeds), report.variants[0]
    lines = [
        f"Each run had {report.budget}; {number} {'seed' if number == 1 else 'seeds'} of pre-training, "
        f"{len(report.finetuning_seeds)} of fine-tuning for each. Scores in per cent, mean ± sample standard deviation "
        "over the seeds of pre-training.",
        f"Differences from {first}, with intervals of 95 %: over seeds by a paired t-test (would other seeds come out "
        "so?), over examples by the paired bootstrap (would these networks on other examples?). p is not corrected for "
        "the number of tests.",
        "Peak memory is the training process's beyond its libraries, the highest of the variant's runs.",
    ]
    if number == 1:
        lines.append("With one seed nothing is known of the spread over seeds; only examples were drawn anew.")
    elif number < _FEW_SEEDS:
        lines.append(f"{number} seeds are few: only large differences can be told from chance, and p is rough.")
    if len({run.kind for run in report.runs}) > 1:
        lines.append(
            "Held-out figures of one name are over other positions in other objectives: between objectives the scores "
            "compare, not these."
        )
    lines += [f"{run.variant}, seed {run.seed}: {run.warning}" for run in report.runs if run.warning]
    return lines


def write_comparison(report: ComparisonReport, folder: Path) -> None:
    """Write report.md, table.csv, and a CSV for each figure below figures/."""
    tables = (score_table, cost_table, diagnostics_table, tests_table)
    titles = ("Scores", "Cost", "Held-out figures of pre-training", "Paired tests")
    parts = [f"# {report.name}", *notes(report)]
    for title, table in zip(titles, tables, strict=True):
        head, rows = table(report)
        lines = [head, ["---"] * len(head), *rows]
        parts += [f"## {title}", "\n".join("| " + " | ".join(line) + " |" for line in lines)]
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")
    names = ("steps", "tokens", "flops", "seconds", "tokens_per_s", "peak_bytes")
    _write_csv(
        folder / "table.csv",
        ["variant", "seed", *names, *report.tasks, MEAN],
        (
            [run.variant, run.seed, *(getattr(run, name) for name in names)]
            + [run.scores[task] for task in report.tasks]
            + [run.mean]
            for run in report.runs
        ),
    )
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    _write_csv(
        figures / "tests.csv",
        [*_TEST_COLUMNS, "examples_low", "examples_high", "examples_p"],
        (
            [getattr(test, name) for name in _TEST_COLUMNS]
            + ([None, None] if test.examples is None else [test.examples.low, test.examples.high])
            + [test.examples_p]
            for test in report.tests
        ),
    )
    _write_csv(
        figures / "scores.csv",
        ["variant", "seed", "flops", MEAN],
        ([run.variant, run.seed, run.flops, run.mean] for run in report.runs),
    )
    for name in figure_names(report):
        _write_csv(
            figures / f"{name}.csv",
            ["variant", "seed", "step", "flops", name],
            (
                [run.variant, run.seed, point["step"], point["flops"], point[name]]
                for run in report.runs
                for point in run.curve
                if name in point
            ),
        )


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation, 0 for a single value."""
    return fmean(values), stdev(values) if len(values) > 1 else 0.0


def _spread(values: Sequence[float], form: str) -> str:
    mean, deviation = spread(values)
    return f"{mean:{form}}" + (f" ± {deviation:{form}}" if len(values) > 1 else "")


def _test_heads(report: ComparisonReport) -> list[str]:
    return [f"against {report.variants[0]}, over seeds", "p", "over examples", "p"]


def _test_cells(test: PairedTest | None) -> list[str]:
    if test is None:
        return ["–"] * 4
    cells = [f"{100 * test.difference:+.1f}", "–", "–", "–"]
    if test.low is not None and test.high is not None and test.p_value is not None and not math.isnan(test.p_value):
        cells[:2] = [f"{cells[0]} {_range(test.low, test.high)}", f"{test.p_value:.3f}"]
    if test.examples is not None and test.examples_p is not None:
        cells[2:] = [_range(test.examples.low, test.examples.high), f"{test.examples_p:.3f}"]
    return cells


def _range(low: float, high: float) -> str:
    return f"({100 * low:+.1f} to {100 * high:+.1f})"


def _cost_cells(runs: Sequence[Run]) -> list[str]:
    """Return tokens a second, the mean, and peak memory in MB, the highest."""
    peaks = [run.peak_bytes for run in runs if run.peak_bytes is not None]
    return [f"{fmean(run.tokens_per_s for run in runs):,.0f}", f"{max(peaks) / 1e6:,.0f}" if peaks else "–"]


def _write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())
