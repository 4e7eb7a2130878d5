import numpy as np
import pytest

from electrify.errors import DataError
from electrify.tasks.bootstrap import compare, intervals
from electrify.tasks.calibration import bin_by_confidence
from electrify.tasks.choice import formula
from electrify.tasks.judgement import Judgement


def judgement(right: np.ndarray) -> Judgement:
    return Judgement({"right": right.astype(float)}, formula)


def test_interval_has_the_width_of_the_normal_approximation() -> None:
    right = np.arange(1000) < 800
    found = intervals(judgement(right))["accuracy"]
    assert found.value == 0.8
    half = 1.96 * (0.8 * 0.2 / 1000) ** 0.5
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.low < 0.8 < found.high


def test_runs_that_differ_are_told_apart_and_those_that_do_not_are_not() -> None:
    draw = np.random.default_rng(0)
    worse = draw.random(500) < 0.7
    better = worse | (draw.random(500) < 0.3)
    found = compare([judgement(better)], [judgement(worse)], metric="accuracy", part="test")
    assert found.difference.value == pytest.approx(better.mean() - worse.mean())
    assert found.difference.low > 0
    assert found.p_value < 0.01
    same = compare([judgement(worse)], [judgement(worse)], metric="accuracy", part="test")
    assert (same.difference.low, same.difference.high, same.p_value) == (0, 0, 1)


def test_seeds_are_averaged() -> None:
    half, all_right = np.arange(10) < 5, np.ones(10, dtype=bool)
    found = compare([judgement(half), judgement(all_right)], [judgement(half)], metric="accuracy", part="test")
    assert (found.value, found.baseline) == (0.75, 0.5)


def test_other_examples_or_another_metric_are_refused() -> None:
    with pytest.raises(DataError, match=r"different examples \(5, 6 of them\)"):
        compare([judgement(np.ones(5))], [judgement(np.ones(6))], metric="accuracy", part="test")
    with pytest.raises(DataError, match="no metric 'f1'"):
        compare([judgement(np.ones(5))], [judgement(np.ones(5))], metric="f1", part="test")


def test_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    confidence = np.array([0.95] * 10 + [0.65] * 10)
    right = np.array([True] * 8 + [False] * 2 + [True] * 6 + [False] * 4)
    found = bin_by_confidence(confidence, right)
    assert found.error == pytest.approx((0.15 + 0.05) / 2)
    assert [(one.accuracy, one.count) for one in found.bins] == [(0.6, 10), (0.8, 10)]
    assert bin_by_confidence(np.array([1.0]), np.array([True])).error == 0
