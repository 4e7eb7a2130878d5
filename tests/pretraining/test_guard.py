import json

import pytest

from electrify.config import TrainingConfig
from electrify.errors import TrainingError
from electrify.pretraining.guard import StepGuard


def guard(**settings: object) -> StepGuard:
    return StepGuard(TrainingConfig.model_validate(settings))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_numbers_are_bad(value: float) -> None:
    assert guard().judge({"loss": 1.0, "grad_norm": 2.0}) is None
    assert guard().judge({"loss": 1.0, "grad_norm": value}) == f"grad_norm is {value}"


def test_spike_is_judged_by_the_last_128_good_steps() -> None:
    judge = guard(spike_deviations=6.0)
    for number in range(127):
        assert judge.judge({"loss": 1.0 + 0.1 * (number % 2)}) is None
    assert judge.judge({"loss": 50.0}) is None  # too early to tell
    judge = guard(spike_deviations=6.0)
    for number in range(128):
        judge.judge({"loss": 1.0 + 0.1 * (number % 2)})
    assert judge.judge({"loss": 1.34}) is None  # mean 1.05, deviation 0.05
    assert judge.judge({"loss": 50.0}) == "loss is 50, a spike"
    assert judge.judge({"loss": 50.0}) is not None  # it was not remembered
    assert judge.judge({"loss": 1.0}) is None


def test_bad_steps_long_ago_no_longer_count() -> None:
    counted = guard(max_bad_steps=1)
    counted.count(1, "x")
    counted.count(1001, "x")
    with pytest.raises(TrainingError, match="bad step number 2 of the last 1,000"):
        counted.count(2000, "x")
    assert counted.num_bad == 3


def test_guard_comes_back_from_json() -> None:
    one, other = guard(spike_deviations=6.0), guard(spike_deviations=6.0)
    for number in range(130):
        one.judge({"loss": 0.1 * (number % 3)})
    one.count(7, "x")
    one.num_skipped = 4
    other.load(json.loads(json.dumps(one.to_json())))
    assert other.to_json() == one.to_json()
    assert other.judge({"loss": 0.9}) == one.judge({"loss": 0.9}) == "loss is 0.9, a spike"
