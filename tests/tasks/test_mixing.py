from collections import Counter

import numpy as np

from electrify.tasks.mixing import batches_a_task, plan_epoch

LENGTHS = [np.full(100, 9), np.full(20, 5)]


def plan(temperature: float, epoch: int = 0, seed: int = 0) -> list[tuple[int, np.ndarray]]:
    return plan_epoch(LENGTHS, batch_size=10, temperature=temperature, seed=seed, epoch=epoch)


def test_sizes_decide_the_share_and_temperature_evens_it_out() -> None:
    assert batches_a_task([100, 20], batch_size=10, temperature=1) == [10, 2]
    assert batches_a_task([100, 20], batch_size=10, temperature=1e9) == [6, 6]
    assert batches_a_task([1000, 1], batch_size=10, temperature=2) == [98, 3]


def test_proportional_epoch_has_every_example_once() -> None:
    for task, size in ((0, 100), (1, 20)):
        units = np.concatenate([units for which, units in plan(1) if which == task])
        assert sorted(units.tolist()) == list(range(size))


def test_small_task_is_begun_anew_in_another_order() -> None:
    batches = [units.tolist() for which, units in plan(1e9) if which == 1]
    counts = Counter(unit for batch in batches for unit in batch)
    assert set(counts.values()) == {3}
    assert len({tuple(batch) for batch in batches}) == 6


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def shown(*arguments: int) -> list[tuple[int, list[int]]]:
        return [(which, units.tolist()) for which, units in plan(1, *arguments)]

    assert shown(3, 1) == shown(3, 1)
    assert shown(3, 1) != shown(4, 1)
    assert shown(3, 1) != shown(3, 2)
    assert [which for which, _ in shown(0, 0)] != sorted(which for which, _ in shown(0, 0))
