"""Rows cut into pieces: every token once, in order, in pieces as even as they can be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electrify.data.cutting import cut_rows, piece_lengths
from electrify.data.shards import Rows

PAD, CLS, SEP = 0, 2, 3


def rows_of(lengths: list[int]) -> Rows:
    """Rows whose tokens are 100, 101, … through all of them; documents change at every fifth token."""
    width = max(lengths)
    ids, documents = np.full((len(lengths), width), PAD), np.full((len(lengths), width), -1, dtype=np.int32)
    first = 100
    for row, length in enumerate(lengths):
        ids[row, :length] = [CLS, *range(first, first + length - 2), SEP]
        documents[row, :length] = np.arange(length) // 5
        first += length - 2
    return Rows(ids, np.array(lengths), None, documents)


@given(lengths=st.lists(st.integers(2, 40), min_size=1, max_size=6), max_length=st.integers(3, 45))
def test_every_token_is_in_one_piece(lengths: list[int], max_length: int) -> None:
    rows = rows_of(lengths)
    pieces, source, number = cut_rows(rows, max_length, pad_id=PAD)
    tokens: dict[int, list[int]] = {row: [] for row in range(len(lengths))}
    for piece, (row, nth, length) in enumerate(zip(source, number, pieces.lengths, strict=True)):
        first, *inside, last = pieces.input_ids[piece, :length].tolist()
        assert (first, last) == (CLS, SEP)
        assert length <= max_length
        assert (pieces.input_ids[piece, length:] == PAD).all()
        assert (pieces.document_ids[piece, length:] == -1).all()
        start = len(tokens[row])  # of the row's tokens; its first stands in column 1
        columns = np.arange(start + 1, start + 1 + len(inside))
        documents = pieces.document_ids[piece, :length]
        if inside:
            expected = columns // 5 - columns[0] // 5
            assert documents.tolist() == [expected[0], *expected, expected[-1]]
        assert nth == sum(source[:piece] == row)
        tokens[row] += inside
    assert [one for row in tokens.values() for one in row] == list(range(100, 100 + sum(lengths) - 2 * len(lengths)))
    assert pieces.input_ids.shape[1] == pieces.lengths.max()
    for row, length in enumerate(lengths):
        mine = pieces.lengths[source == row]
        assert mine.max() - mine.min() <= 1
        assert len(mine) == max(1, -(-(length - 2) // (max_length - 2)))  # as few as possible


def test_rows_that_are_short_enough_stay_as_they_are() -> None:
    rows = rows_of([9, 4])
    pieces, source, number = cut_rows(rows, 9, pad_id=PAD)
    assert (pieces.input_ids == rows.input_ids).all()
    assert (source.tolist(), number.tolist()) == ([0, 1], [0, 0])


def test_lengths_of_pieces() -> None:
    source, lengths = piece_lengths(np.array([128, 30]), 50)
    assert (source.tolist(), lengths.tolist()) == ([0, 0, 0, 1], [44, 44, 44, 30])


def test_pairs_are_not_cut() -> None:
    rows = rows_of([9])
    with pytest.raises(ValueError, match="two segments"):
        cut_rows(Rows(rows.input_ids, rows.lengths, np.zeros_like(rows.input_ids), rows.document_ids), 5, pad_id=PAD)
