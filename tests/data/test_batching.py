import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electrify.data.batching import batches_by_length, pad


def lengths(count: int) -> list[int]:
    draw = random.Random(0)
    return [draw.randint(3, 100) for _ in range(count)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 2**63 - 1))
def test_every_example_is_in_one_batch(count: int, batch_size: int, seed: int) -> None:
    batches = batches_by_length(lengths(count), batch_size=batch_size, seed=seed, epoch=0)
    assert sorted(index for batch in batches for index in batch.tolist()) == list(range(count))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40))
def test_all_batches_but_one_are_full(count: int, batch_size: int) -> None:
    sizes = [len(batch) for batch in batches_by_length(lengths(count), batch_size=batch_size, seed=0, epoch=0)]
    assert len(sizes) == -(-count // batch_size)
    assert sorted(sizes)[1:] == [batch_size] * (len(sizes) - 1)


def share_of_padding(batches: list[np.ndarray], sizes: list[int]) -> float:
    padded = sum(len(batch) * max(sizes[index] for index in batch) for batch in batches)
    return 1 - sum(sizes) / padded


def test_batches_hold_little_padding() -> None:
    sizes = lengths(1_000)
    shuffled = np.array_split(np.random.default_rng(0).permutation(1_000), 125)
    assert share_of_padding(shuffled, sizes) > 0.35
    assert share_of_padding(batches_by_length(sizes, batch_size=8, seed=0, epoch=0), sizes) < 0.05


def order(**settings: int) -> list[list[int]]:
    return [batch.tolist() for batch in batches_by_length(lengths(100), **{"batch_size": 8, "epoch": 0, **settings})]


def test_order_is_a_function_of_seed_and_epoch() -> None:
    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)


@pytest.mark.parametrize("other", [{"seed": 1, "epoch": 3}, {"seed": 2, "epoch": 2}])
def test_another_seed_or_epoch_has_another_order(other: dict[str, int]) -> None:
    assert order(seed=1, epoch=2) != order(**other)


def test_epochs_do_not_go_from_short_to_long() -> None:
    sizes = lengths(200)
    means = [np.mean([sizes[i] for i in batch]) for batch in batches_by_length(sizes, batch_size=8, seed=0, epoch=0)]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.6


def test_rows_are_padded_behind_to_the_longest() -> None:
    padded = pad([[7], [7, 8, 9], []], value=5)
    assert padded.tolist() == [[7, 5, 5], [7, 8, 9], [5, 5, 5]]
    assert padded.dtype == np.int64


def test_no_rows_have_no_columns() -> None:
    assert pad([], value=0).shape == (0, 0)
