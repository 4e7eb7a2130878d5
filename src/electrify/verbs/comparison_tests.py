"""Whether variants of a comparison differ: over the seeds of pre-training, and over the examples of the tasks.

Runs of one seed have the same initial draws, rows in the same order and, in kinds that hide tokens, the same hidden
tokens, so variants are compared seed by seed (Student 1908, paired): would it come out so with other seeds? The
bootstrap draws the examples that scores are measured on anew (`tasks.bootstrap`), the same ones for both sides: would
it come out so on other examples, with these networks?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np

from electrify.tasks.bootstrap import Drawn, Interval, judge_difference

MEAN = "mean"
_LEVEL = 0.95


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
    peak_bytes: int | None
    """Most memory of the training process beyond its libraries; None for a run of an earlier version."""
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

    def score(self, task: str) -> float:
        """Return the score of a task, or the mean over all."""
        return self.mean if task == MEAN else self.scores[task]


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A variant against the first one."""

    variant: str
    baseline: str
    task: str
    """A task, or "mean" for the mean over all."""
    difference: float
    """Mean over the seeds of this variant less the other."""
    low: float | None
    """End of the interval of 95 % over seeds of pre-training; None where they are too few or all alike."""
    high: float | None
    p_value: float | None
    """Over seeds, two-sided, not corrected for the number of tests."""
    num_seeds: int
    examples: Interval | None = None
    """The difference again, with its interval of 95 % over examples; None until `add_examples`."""
    examples_p: float | None = None
    """Over examples, two-sided, not corrected either."""


Drawings = Mapping[str, Mapping[str, Drawn]]
"""By variant and task: the score over all of the variant's runs, for each draw of the task's examples."""


def compare_means(runs: Sequence[Run], tasks: Sequence[str]) -> list[PairedTest]:
    """Test every variant against the first one over the seeds, on every task and on their mean."""
    from scipy.stats import ttest_rel

    by_name: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_name.setdefault(run.variant, {})[run.seed] = run
    (baseline, base), *others = by_name.items()
    found = []
    for name, mine in others:
        for task in (*tasks, MEAN):
            ours, theirs = ([of[seed].score(task) for seed in base] for of in (mine, base))
            differences = [one - other for one, other in zip(ours, theirs, strict=True)]
            low = high = p_value = None
            if len(differences) > 1 and stdev(differences) > 1e-12 * max(1.0, abs(fmean(differences))):
                test = ttest_rel(ours, theirs)
                interval = test.confidence_interval(_LEVEL)
                low, high, p_value = float(interval.low), float(interval.high), float(test.pvalue)
            found.append(PairedTest(name, baseline, task, fmean(differences), low, high, p_value, len(differences)))
    return found


def add_examples(tests: Sequence[PairedTest], drawn: Drawings) -> list[PairedTest]:
    """Return the tests with what the draws of examples say of them.

    Args:
        tests: As from `compare_means`.
        drawn: Of every variant and task; tasks have examples of their own, drawn independently of each other.
    """
    found = []
    for test in tests:
        ours, theirs = (_drawn(drawn[name], test.task) for name in (test.variant, test.baseline))
        interval, p_value = judge_difference(ours, theirs)
        found.append(replace(test, examples=interval, examples_p=p_value))
    return found


def _drawn(tasks: Mapping[str, Drawn], task: str) -> Drawn:
    if task != MEAN:
        return tasks[task]
    return Drawn(fmean(one.value for one in tasks.values()), np.mean([one.draws for one in tasks.values()], axis=0))
