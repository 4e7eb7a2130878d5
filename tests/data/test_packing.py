import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from electrify.data.packing import dense_rows, piece_rows, segment_document

lengths_of_documents = st.lists(st.integers(0, 60), max_size=12)
max_lengths = st.integers(8, 24)


def covered(rows: np.ndarray) -> list[int]:
    return [int(row["start"]) + nth for row in rows for nth in range(row["length_a"])]


@given(st.integers(0, 500), max_lengths)
def test_dense_rows_hold_every_token_once_and_all_but_the_last_are_full(num_tokens: int, max_length: int) -> None:
    rows = dense_rows(num_tokens, max_length)
    assert covered(rows) == list(range(num_tokens))
    assert (rows["length_a"][:-1] == max_length - 2).all()
    assert not rows["length_b"].any()


@given(lengths_of_documents, max_lengths)
def test_pieces_hold_every_token_once_and_never_cross_a_document(lengths: list[int], max_length: int) -> None:
    ends = np.cumsum(lengths, dtype=np.int64)
    rows = piece_rows(ends, max_length)
    assert covered(rows) == list(range(sum(lengths)))
    starts = rows["start"].astype(np.int64)
    lasts = starts + rows["length_a"] - 1
    assert (np.searchsorted(ends, starts, "right") == np.searchsorted(ends, lasts, "right")).all()
    assert len(rows) == sum(-(-length // (max_length - 2)) for length in lengths)


@given(
    st.lists(lengths_of_documents.map(lambda lengths: lengths[:5]), max_size=6), max_lengths, st.integers(0, 2**64 - 1)
)
def test_segments_keep_or_count_every_token_and_fit(documents: list[list[int]], max_length: int, seed: int) -> None:
    for lengths in documents:
        numbers = iter(range(1_000))
        sentences = [[next(numbers) for _ in range(length)] for length in lengths]
        result = segment_document(sentences, max_length=max_length, seed=seed)
        assert len(result.token_ids) + result.num_cut == sum(lengths)
        assert len(set(result.token_ids)) == len(result.token_ids)
        assert sum(a + b for a, b in result.lengths) == len(result.token_ids)
        for a, b in result.lengths:
            assert a >= 1
            assert a + b + (3 if b else 2) <= max_length


def test_segments_follow_the_seed() -> None:
    sentences = [list(range(start, start + 9)) for start in range(0, 900, 9)]
    first = segment_document(sentences, max_length=64, seed=1)
    assert first == segment_document(sentences, max_length=64, seed=1)
    assert first != segment_document(sentences, max_length=64, seed=2)


def test_a_tenth_of_the_rows_are_single_a_twentieth_short_and_a_is_about_half() -> None:
    sentences = [[7] * 6] * 60_000  # 6 tokens a sentence, about 21 sentences a row of 128
    lengths = np.array(segment_document(sentences, max_length=128, seed=3).lengths)
    totals = lengths.sum(axis=1)
    assert abs((lengths[:, 1] == 0).mean() - 0.10) < 0.015
    assert abs((totals < 110).mean() - 0.05 * 105 / 124) < 0.015
    paired = lengths[(lengths[:, 1] > 0) & (totals >= 120)]
    assert 0.45 < paired[:, 0].mean() / 125 < 0.55


def test_document_without_tokens_gives_no_rows() -> None:
    assert segment_document([[], []], max_length=16, seed=0).lengths == []
    assert segment_document([], max_length=16, seed=0).lengths == []
