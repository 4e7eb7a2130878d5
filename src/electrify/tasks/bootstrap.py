"""How sure a score is, and whether two runs differ: the bootstrap over examples (Efron 1979).

Examples are drawn with repetition as often as there are examples, a thousand times, and the metrics are computed each
time. The paired form draws the same examples for both runs, so that hard examples are hard for both (Berg-Kirkpatrick
et al. 2012).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from electrify.errors import DataError
from electrify.tasks.judgement import EXAMPLE, Judgement

NUM_DRAWS = 1000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A score and where it lies with a confidence of 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on the same examples."""

    metric: str
    part: str
    value: float
    """Mean over the seeds of this run."""
    baseline: float
    """The same of the other."""
    difference: Interval
    """This run less the other."""
    p_value: float
    """Share of draws, doubled, in which the difference has the other sign or is 0: two-sided, at most 1."""


def intervals(judgement: Judgement, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> dict[str, Interval]:
    """Return every metric with its interval of 95 % (percentiles of the draws)."""
    draws: dict[str, list[float]] = {}
    for indices in _draws(len(judgement), num_draws, seed):
        for name, value in judgement.metrics(indices).items():
            draws.setdefault(name, []).append(value)
    return {name: _interval(value, draws.get(name, [])) for name, value in judgement.metrics().items()}


def compare(
    ours: Sequence[Judgement],
    theirs: Sequence[Judgement],
    *,
    metric: str,
    part: str,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare two runs of one or several seeds each on the same examples in the same order.

    Raises:
        DataError: If the runs were measured on different examples or in another order, or have not got the metric.
    """
    require_same_examples([*ours, *theirs])
    if metric not in ours[0].metrics() or metric not in theirs[0].metrics():
        raise DataError(f"one of the runs has no metric '{metric}'. They must be of the same kind of task.")

    sides = [draw_scores(side, [metric], num_draws=num_draws, seed=seed) for side in (ours, theirs)]
    difference, p_value = judge_difference(*sides)
    return Comparison(metric, part, sides[0].value, sides[1].value, difference, p_value)


def require_same_examples(judgements: Sequence[Judgement]) -> None:
    """Refuse to pair judgements that are not of the same examples in the same order.

    Raises:
        DataError: Saying how many differ.
    """
    sizes = {len(one) for one in judgements}
    if len(sizes) != 1:
        raise DataError(f"the runs were measured on different examples ({', '.join(map(str, sorted(sizes)))} of them).")
    signed = [one.columns[EXAMPLE] for one in judgements if EXAMPLE in one.columns]
    for other in signed[1:]:
        num_other = int((signed[0] != other).sum())
        if num_other:
            raise DataError(f"the runs were measured on different examples ({num_other} of {len(judgements[0])}).")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A score over all examples, and over each draw of them."""

    value: float
    draws: np.ndarray
    """(D,) float64; the same draws of examples for every score of as many examples."""


def draw_scores(
    judgements: Sequence[Judgement], metrics: Sequence[str], *, num_draws: int = NUM_DRAWS, seed: int = 0
) -> Drawn:
    """Return the mean of some metrics over several judgements of the same examples, for each draw of examples."""

    def score(indices: np.ndarray | None) -> float:
        # A drawn part may lack what a metric is about, such as questions without an answer.
        found = [judgement.metrics(indices) for judgement in judgements]
        return float(np.mean([one.get(metric, 0.0) for one in found for metric in metrics]))

    draws = [score(indices) for indices in _draws(len(judgements[0]), num_draws, seed)]
    return Drawn(score(None), np.array(draws))


def judge_difference(ours: Drawn, theirs: Drawn) -> tuple[Interval, float]:
    """Return ours less theirs with its interval of 95 %, and the p-value as `Comparison` has it."""
    draws, found = ours.draws - theirs.draws, ours.value - theirs.value
    against = float((draws <= 0).mean() if found > 0 else (draws >= 0).mean())
    return _interval(found, draws.tolist()), min(1.0, 2 * against)


def _draws(size: int, num_draws: int, seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, size, size) for _ in range(num_draws)]


def _interval(value: float, draws: list[float]) -> Interval:
    if not draws:
        return Interval(value, value, value)
    low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(value, float(low), float(high))
