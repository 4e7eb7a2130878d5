import pytest

from electrify.config import ScheduleConfig
from electrify.training.schedules import SCHEDULES, learning_rate_factor


def factors(kind: str, *at: float, warmup_share: float = 0.2, decay_share: float = 0.25) -> list[float]:
    config = ScheduleConfig(kind=kind, warmup_share=warmup_share, decay_share=decay_share)
    return [learning_rate_factor(progress, config) for progress in at]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [  # at 0, half the warm-up, its end, half of the rest, the end
        ("linear", [0, 0.5, 1, 0.5, 0]),
        ("linear_times_warmup", [0, 0.5 * 0.9, 0.8, 0.4, 0]),
        ("cosine", [0, 0.5, 1, 0.5, 0]),
        ("warmup_stable_decay", [0, 0.5, 1, 1, 0]),
        ("constant", [0, 0.5, 1, 1, 1]),
    ],
)
def test_factors_are_those_computed_by_hand(kind: str, expected: list[float]) -> None:
    assert factors(kind, 0, 0.1, 0.2, 0.6, 1) == pytest.approx(expected, abs=1e-12)


def test_every_kind_of_the_config_has_a_schedule() -> None:
    kinds = ScheduleConfig.model_json_schema()["properties"]["kind"]["enum"]
    assert set(kinds) == set(SCHEDULES)


def test_linear_times_warmup_never_reaches_one() -> None:
    highest = max(factors("linear_times_warmup", *(step / 1000 for step in range(1001)), warmup_share=0.1))
    assert highest == pytest.approx(1 - 0.1)


def test_cosine_stays_above_the_line_first_and_below_it_later() -> None:
    assert factors("cosine", 0.25, 0.75, warmup_share=0) == pytest.approx([(1 + 0.5**0.5) / 2, (1 - 0.5**0.5) / 2])


def test_stable_part_ends_where_the_decay_begins() -> None:
    assert factors("warmup_stable_decay", 0.74, 0.76, 0.875) == pytest.approx([1, 0.96, 0.5])


@pytest.mark.parametrize("kind", sorted(SCHEDULES))
def test_without_warmup_the_first_step_has_the_full_rate(kind: str) -> None:
    assert factors(kind, 0, warmup_share=0) == [1]


@pytest.mark.parametrize("kind", sorted(SCHEDULES))
def test_a_run_that_is_all_warmup_only_rises(kind: str) -> None:
    values = factors(kind, 0, 0.25, 0.5, warmup_share=1.0, decay_share=0.01)
    assert values == sorted(set(values))


@pytest.mark.parametrize("kind", sorted(SCHEDULES))
def test_factor_stays_within_zero_and_one(kind: str) -> None:
    for progress in (-1.0, 0.0, 1e-9, 0.5, 1 - 1e-9, 1.0, 2.0):
        assert 0 <= factors(kind, progress)[0] <= 1
    assert factors(kind, 2.0) == factors(kind, 1.0)
