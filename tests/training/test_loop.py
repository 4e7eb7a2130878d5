import pytest

from electrify.config import ScheduleConfig
from electrify.training import loop
from electrify.training.loop import Clock, Every, run


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the clock sees; set the only entry to move on."""
    value = [500.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: value[0])
    return value


def clock_of(**settings: object) -> Clock:
    return Clock(ScheduleConfig.model_validate({"kind": "linear", "warmup_share": 0.0, **settings}), _started=500.0)


def test_every_step_gets_the_rate_of_the_steps_before_it() -> None:
    factors: list[float] = []
    run(clock_of(num_steps=4), factors.append, [])
    assert factors == [1.0, 0.75, 0.5, 0.25]


def test_actions_run_at_their_steps_and_once_at_the_end() -> None:
    clock = clock_of(num_steps=7)
    seen: list[tuple[str, int]] = []
    actions = [
        Every(2, lambda: seen.append(("two", clock.step))),
        Every(7, lambda: seen.append(("seven", clock.step))),
        Every(100, lambda: seen.append(("hundred", clock.step))),
    ]
    run(clock, lambda factor: None, actions)
    assert seen == [("two", 2), ("two", 4), ("two", 6), ("two", 7), ("seven", 7), ("hundred", 7)]


def test_a_finished_run_takes_no_step_and_repeats_no_action() -> None:
    clock = clock_of(num_steps=3)
    clock.step = 3
    run(clock, lambda factor: pytest.fail("a step"), [Every(1, lambda: pytest.fail("an action"))])
    assert clock.step == 3


def test_a_run_goes_on_where_the_clock_stands() -> None:
    clock = clock_of(num_steps=4)
    clock.step = 3
    factors: list[float] = []
    run(clock, factors.append, [])
    assert factors == [0.25]


def test_a_budget_of_minutes_ends_the_run_and_sets_the_rate(now: list[float]) -> None:
    clock = clock_of(num_steps=1_000, budget_minutes=2)
    factors: list[float] = []
    ends: list[int] = []

    def take_step(factor: float) -> None:
        factors.append(factor)
        now[0] += 30

    run(clock, take_step, [Every(1_000, lambda: ends.append(clock.step))])
    assert factors == [1.0, 0.75, 0.5, 0.25]
    assert (clock.step, ends) == (4, [4])


def test_steps_end_a_run_before_its_budget_does(now: list[float]) -> None:
    clock = clock_of(num_steps=3, budget_minutes=60)
    run(clock, lambda factor: None, [])
    assert clock.step == 3


def test_minutes_of_earlier_processes_count(now: list[float]) -> None:
    clock = clock_of(num_steps=1_000, budget_minutes=2)
    clock.seconds_before = 90.0
    now[0] += 15
    assert clock.seconds == 105
    assert clock.progress == pytest.approx(105 / 120)


def test_time_left_is_at_the_speed_so_far(now: list[float]) -> None:
    clock = clock_of(num_steps=10)
    assert clock.seconds_left == 0  # nothing is known yet
    now[0] += 30
    clock.step = 3
    assert clock.seconds_left == pytest.approx(70)


def test_progress_stays_at_one_after_the_end(now: list[float]) -> None:
    clock = clock_of(num_steps=10, budget_minutes=1)
    now[0] += 600
    assert clock.progress == 1
