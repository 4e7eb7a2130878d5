"""What a comparison found: scores of runs, paired tests over seeds, and the files that hold them.

Runs of one seed have the same initial draws, rows in the same order and, in kinds that hide tokens, the same hidden
tokens, so variants are compared seed by seed (Student 1908, paired).
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from electrify.files import write_text

MEAN = "mean"
_LEVEL = 0.95
_FEW_SEEDS = 6


@dataclass(frozen=True, slots=True)
class Run:
    """A variant with one seed."""

    variant: str
    seed: int
    kind: str
    steps: int
    tokens: int
    """Real tokens trained on."""
    flops: float
    """Operations counted from the config; see `pretraining.compute`."""
    seconds: float
    tokens_per_s: float
    scores: dict[str, float]
    """By task, mean over the fine-tuning seeds and, where a task shows several, over its metrics."""
    validation: dict[str, float]
    """Held-out figures of pre-training at the end."""
    warning: str | None
    curve: list[dict[str, float]]
    """Held-out figures on the way, with "step" and "flops"."""

    @property
    def mean(self) -> float:
        """The mean over the tasks."""
        return fmean(self.scores.values())


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A variant against the first one, over the seeds of pre-training."""

    variant: str
    baseline: str
    task: str
    """A task, or "mean" for the mean over all."""
    difference: float
    """Mean over the seeds of this variant less the other."""
    low: float | None
    """End of the interval of 95 %; None where seeds are too few or all alike."""
    high: float | None
    p_value: float | None
    """Two-sided, not corrected for the number of tests."""
    num_seeds: int


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


def compare_means(runs: Sequence[Run], tasks: Sequence[str]) -> list[PairedTest]:
    """Test every variant against the first one, on every task and on their mean."""
    from scipy.stats import ttest_rel

    by_name: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_name.setdefault(run.variant, {})[run.seed] = run
    (baseline, base), *others = by_name.items()
    found = []
    for name, mine in others:
        for task in (*tasks, MEAN):
            ours, theirs = ([_score(of[seed], task) for seed in base] for of in (mine, base))
            differences = [one - other for one, other in zip(ours, theirs, strict=True)]
            low = high = p_value = None
            if len(differences) > 1 and stdev(differences) > 1e-12 * max(1.0, abs(fmean(differences))):
                test = ttest_rel(ours, theirs)
                interval = test.confidence_interval(_LEVEL)
                low, high, p_value = float(interval.low), float(interval.high), float(test.pvalue)
            found.append(PairedTest(name, baseline, task, fmean(differences), low, high, p_value, len(differences)))
    return found


def score_table(report: ComparisonReport) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows, one a variant: scores in per cent, their mean, and the test of the mean."""
    tests = {test.variant: test for test in report.tests if test.task == MEAN}
    rows = []
    for name in report.variants:
        runs = report.of(name)
        cells = [_spread([100 * _score(run, task) for run in runs], ".1f") for task in (*report.tasks, MEAN)]
        rows.append([name, *cells, *_test_cells(tests.get(name))])
    return ["variant", *report.tasks, MEAN, f"against {report.variants[0]}", "p"], rows


def tests_table(report: ComparisonReport) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of all paired tests."""
    return ["variant", "task", f"against {report.variants[0]}", "p"], [
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
                f"{fmean(run.tokens_per_s for run in runs):,.0f}",
            ]
        )
    return ["variant", "objective", "steps", "tokens", "operations", "seconds", "tokens/s"], rows


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
        f"Differences from {first}, with intervals of 95 %, and p by a paired t-test over the seeds, not corrected for "
        "the number of tests.",
    ]
    if number == 1:
        lines.append("With one seed nothing is known of the spread, and nothing was tested.")
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
    names = ("steps", "tokens", "flops", "seconds", "tokens_per_s")
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
        ["variant", "baseline", "task", "difference", "low", "high", "p_value", "num_seeds"],
        (
            [test.variant, test.baseline, test.task, test.difference, test.low, test.high, test.p_value, test.num_seeds]
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


def _score(run: Run, task: str) -> float:
    return run.mean if task == MEAN else run.scores[task]


def _spread(values: Sequence[float], form: str) -> str:
    mean, deviation = spread(values)
    return f"{mean:{form}}" + (f" ± {deviation:{form}}" if len(values) > 1 else "")


def _test_cells(test: PairedTest | None) -> list[str]:
    if test is None:
        return ["–", "–"]
    text = f"{100 * test.difference:+.1f}"
    if test.low is None or test.high is None or test.p_value is None or math.isnan(test.p_value):
        return [text, "–"]
    return [f"{text} ({100 * test.low:+.1f} to {100 * test.high:+.1f})", f"{test.p_value:.3f}"]


def _write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())
