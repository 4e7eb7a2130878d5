"""Rows to measure with."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electrify.bench.rows import fill_rows, made_up_tokenizer, make_sequences, pack, read_sequences, write_sequences

TOKENIZER = made_up_tokenizer(1000)


def test_the_tokenizer_has_as_many_tokens_as_asked() -> None:
    assert TOKENIZER.vocab_size == 1000


def test_natural_lengths_have_the_stated_mean_and_range() -> None:
    lengths = [len(one) for one in make_sequences(4000, kind="natural", length=128, tokenizer=TOKENIZER, seed=0)]
    assert 8 <= min(lengths) < 16
    assert max(lengths) == 128
    assert np.mean(lengths) == pytest.approx(0.6 * 128, rel=0.06)  # what is cut off at 128 lowers it


def test_dense_sequences_are_full_and_begin_and_end_as_rows_do() -> None:
    for sequence in make_sequences(10, kind="dense", length=32, tokenizer=TOKENIZER, seed=0):
        assert len(sequence) == 32
        assert (sequence[0], sequence[-1]) == (TOKENIZER.cls_id, TOKENIZER.sep_id)
        assert not np.isin(sequence[1:-1], TOKENIZER.special_ids).any()


def test_ids_are_repeated_by_their_seed_and_follow_zipf() -> None:
    first, again, other = (
        np.concatenate(make_sequences(500, kind="dense", length=64, tokenizer=TOKENIZER, seed=seed))
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()
    counts = np.sort(np.bincount(first)[5:])[::-1]
    assert counts[0] / counts[9] == pytest.approx((10 + 2.7) / (1 + 2.7), rel=0.2)


def test_sequences_come_back_from_a_file(tmp_path: Path) -> None:
    sequences = make_sequences(7, kind="natural", length=64, tokenizer=TOKENIZER, seed=3)
    write_sequences(tmp_path / "rows.npz", sequences)
    for before, after in zip(sequences, read_sequences(tmp_path / "rows.npz"), strict=True):
        assert (before == after).all()


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_rows_hold_every_sequence_once_and_never_too_much(lengths: list[int]) -> None:
    rows = fill_rows(lengths, room=20)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 20 for row in rows)
    assert len(rows) <= max(1, 2 * sum(lengths) // 20 + 1)  # no two rows are half empty


def test_packed_rows_keep_whole_sequences_apart() -> None:
    rows = pack([np.array([2, 7, 3]), np.array([2, 8, 9, 3]), np.array([2, 6, 3])], room=7, pad_id=0)
    assert rows.input_ids.tolist() == [[2, 8, 9, 3, 2, 7, 3], [2, 6, 3, 0, 0, 0, 0]]
    assert rows.document_ids.tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, -1, -1, -1, -1]]
    assert rows.lengths.tolist() == [7, 3]
