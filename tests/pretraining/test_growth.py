from hypothesis import given
from hypothesis import strategies as st

from electrify.config import ScheduleConfig, TrainingConfig
from electrify.pretraining.growth import BatchGrowth, LengthGrowth


def test_batch_grows_on_a_line() -> None:
    growth = BatchGrowth(TrainingConfig(batch_size=10, batch_size_start=2, batch_warmup_steps=4))
    assert [growth.size(step) for step in range(6)] == [2, 4, 6, 8, 10, 10]
    assert [growth.first_row(step) for step in range(6)] == [0, 2, 6, 12, 20, 30]
    assert growth.smallest == 2


def test_without_a_start_it_is_full_from_the_first_step() -> None:
    growth = BatchGrowth(TrainingConfig(batch_size=10, batch_warmup_steps=4))
    assert [(growth.size(step), growth.first_row(step)) for step in (0, 7)] == [(10, 0), (10, 70)]
    assert growth.smallest == 10


@given(start=st.integers(1, 50), full=st.integers(1, 50), steps=st.integers(0, 40))
def test_every_row_is_in_one_step(start: int, full: int, steps: int) -> None:
    growth = BatchGrowth(TrainingConfig(batch_size=full, batch_size_start=start, batch_warmup_steps=steps))
    for step in range(60):
        assert growth.first_row(step) + growth.size(step) == growth.first_row(step + 1)
        assert min(start, full) <= growth.size(step) <= max(start, full)
    assert growth.smallest == min(growth.size(step) for step in range(60))


def test_pieces_grow_on_a_line_to_whole_rows() -> None:
    growth = LengthGrowth(ScheduleConfig(length_start=32, length_warmup_steps=4), 128)
    assert [growth.length(step) for step in range(6)] == [32, 56, 80, 104, 128, 128]
    assert growth.stages() == [(0, 32), (1, 56), (2, 80), (3, 104), (4, 128)]


def test_rows_are_whole_unless_they_are_to_be_cut() -> None:
    for config in (ScheduleConfig(), ScheduleConfig(length_start=32), ScheduleConfig(length_warmup_steps=9)):
        growth = LengthGrowth(config, 128)
        assert growth.length(0) == 128
        assert growth.stages() == [(0, 128)]


def test_stages_are_the_steps_at_which_the_length_changes() -> None:
    growth = LengthGrowth(ScheduleConfig(length_start=8, length_warmup_steps=6), 11)
    assert [growth.length(step) for step in range(8)] == [8, 8, 9, 9, 10, 10, 11, 11]
    assert growth.stages() == [(0, 8), (2, 9), (4, 10), (6, 11)]
