import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electrify.data.loader import RowOrder
from electrify.errors import DataError


def order_of(num_rows: int, count: int, *, seed: int = 0, batch_size: int = 1) -> list[int]:
    order = RowOrder(num_rows, seed=seed)
    return np.concatenate([order.row_indices(step, batch_size) for step in range(-(-count // batch_size))]).tolist()[
        :count
    ]


@settings(max_examples=10, deadline=None)
@given(st.integers(100, 300), st.integers(-(2**40), 2**40))
def test_every_epoch_holds_every_row_once(num_rows: int, seed: int) -> None:
    order = order_of(num_rows, 3 * num_rows, seed=seed)
    for epoch in range(3):
        assert sorted(order[epoch * num_rows : (epoch + 1) * num_rows]) == list(range(num_rows))


@settings(max_examples=10, deadline=None)
@given(st.integers(100, 300), st.integers(2, 60))
def test_order_does_not_depend_on_the_batch_size(num_rows: int, batch_size: int) -> None:
    assert order_of(num_rows, 150, batch_size=batch_size) == order_of(num_rows, 150)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first = order_of(50, 100, seed=1)
    assert first[:50] != first[50:]
    assert first != order_of(50, 100, seed=2)
    assert first == order_of(50, 100, seed=1)


def test_any_step_can_be_asked_for_first() -> None:
    assert RowOrder(30, seed=4).row_indices(7, 8).tolist() == order_of(30, 64, seed=4, batch_size=8)[56:]


def test_epoch_counts_passes_over_the_rows() -> None:
    order = RowOrder(10, seed=0)
    assert [order.epoch_of(step, 4) for step in range(6)] == [0, 0, 0, 1, 1, 2]


def test_no_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="no rows"):
        RowOrder(0, seed=0)


def test_the_order_is_made_without_a_word_on_the_terminal() -> None:
    code = "from electrify.data.loader import RowOrder; RowOrder(3, seed=0)"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_epochs_of_neighbouring_seeds_are_different_orders() -> None:
    epochs = {tuple(RowOrder(30, seed=seed).row_indices(epoch, 30).tolist()) for seed in range(6) for epoch in range(6)}
    assert len(epochs) == 36
