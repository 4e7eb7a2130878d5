import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electrify.data.labelled import Example
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.tasks.features import encode_windows, window_starts
from electrify.tasks.windows import window_rows

CLS, SEP, UNK = 2, 3, 1
TOKENIZER = from_vocabulary([*SPECIAL_TOKENS, "a", "b", "c", "d", "e", "##x"], is_cased=True)
A, B, C, D, E, X = range(5, 11)


@given(st.integers(0, 60), st.integers(2, 20), st.integers(0, 30))
def test_windows_cover_everything_and_are_full(length: int, room: int, overlap: int) -> None:
    starts = window_starts(length, room, overlap)
    covered = {place for start in starts for place in range(start, min(start + room, length))}
    assert covered == set(range(length))
    assert starts == sorted(set(starts))
    assert length <= room or all(start + room <= length for start in starts)


def test_short_sentence_is_one_row_that_asks_about_every_word() -> None:
    rows, num_cut, num_unknown = window_rows([["ax", "b", "cxx"]], TOKENIZER, max_length=16, overlap=2)
    assert [row.ids for row in rows] == [[CLS, A, X, B, C, X, X, SEP]]
    assert rows[0].words.tolist() == [0, 1, 2]
    assert rows[0].pieces.tolist() == [1, 3, 4]
    assert (num_cut, num_unknown) == (0, 0)


def test_every_word_of_a_long_sentence_is_asked_about_once_and_at_its_first_piece() -> None:
    words = ["a", "bx", "c", "dxx", "e"] * 6
    rows, _, _ = window_rows([words, ["a"]], TOKENIZER, max_length=12, overlap=4)
    assert all(len(row.ids) <= 12 for row in rows)
    assert sorted(word for row in rows if row.sentence == 0 for word in row.words) == list(range(30))
    for row in rows:
        for word, piece in zip(row.words, row.pieces, strict=True):
            letter = (words if row.sentence == 0 else ["a"])[word][0]
            assert row.ids[piece] == TOKENIZER.token_id(letter)


def test_word_without_a_piece_is_unknown_and_counted() -> None:
    rows, _, num_unknown = window_rows([["a", "\u200b", "b"]], TOKENIZER, max_length=8, overlap=2)
    assert rows[0].ids == [CLS, A, UNK, B, SEP]
    assert num_unknown == 1


def test_word_longer_than_a_row_is_cut_and_counted() -> None:
    rows, num_cut, _ = window_rows([["axxxxxxx"]], TOKENIZER, max_length=6, overlap=2)
    assert rows[0].ids == [CLS, A, X, X, X, SEP]
    assert num_cut == 4


def test_long_text_is_several_rows_of_one_unit() -> None:
    examples = [Example("a b c d e a b", None, None), Example("a", None, None)]
    features = encode_windows(examples, TOKENIZER, max_length=6, overlap=1)
    assert features.ids[:2] == [[CLS, A, B, C, D, SEP], [CLS, D, E, A, B, SEP]]
    assert features.ends.tolist() == [2, 3]
    assert features.unit_lengths.tolist() == [6, 3]
    assert features.rows(np.array([1, 0])).tolist() == [2, 0, 1]


@pytest.mark.parametrize("words", [["a", "b"], ["a"], ["a", "b", "c"]])
def test_words_are_encoded_one_by_one(words: list[str]) -> None:
    assert TOKENIZER.encode_words([words]) == [[[TOKENIZER.token_id(word)] for word in words]]
