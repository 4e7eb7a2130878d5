"""Rows cut into shorter ones, so that a step may see the same tokens in shorter rows.

No token is lost, and none added but [CLS] and [SEP], which every piece has.
"""

import numpy as np
from numpy.typing import NDArray

from electrify.data.shards import Rows


def piece_lengths(lengths: NDArray[np.integer], max_length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how long the pieces of rows are: as few as possible, and as even as possible.

    Args:
        lengths: Tokens of each row, special ones included, (B,), each at least 2.
        max_length: Longest piece, special tokens included, 3 or more.

    Returns:
        For each piece, in order, the number of its row and its tokens, special ones included, (N,), N ≥ B.
    """
    inner = lengths.astype(np.int64) - 2
    counts = np.maximum(1, -(-inner // (max_length - 2)))
    source = np.repeat(np.arange(len(inner)), counts)
    nth = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    base, more = np.divmod(inner, counts)
    return source, base[source] + (nth < more[source]) + 2


def cut_rows(rows: Rows, max_length: int, *, pad_id: int) -> tuple[Rows, NDArray[np.int64], NDArray[np.int64]]:
    """Cut rows of one segment each.

    Args:
        rows: As a network reads them, (B, T).
        max_length: Longest piece, special tokens included, 3 or more.
        pad_id: Id of [PAD].

    Returns:
        The pieces, (N, T'), documents counted anew in each; and for each piece, (N,), the number of its row, and its
        number within the row.

    Raises:
        ValueError: If rows are pairs of segments.
    """
    if rows.token_type_ids is not None:
        raise ValueError("rows of two segments can not be cut")
    source, lengths = piece_lengths(rows.lengths, max_length)
    is_first = np.diff(source, prepend=-1) > 0
    firsts = np.flatnonzero(is_first)
    nth = np.arange(len(source)) - firsts[source]
    inner = lengths - 2
    before = np.cumsum(inner) - inner
    begin = before - before[firsts][source]  # tokens of the row that earlier pieces have, (N,)
    columns = np.arange(int(lengths.max()))
    is_real = columns < lengths[:, None]
    is_last = columns == lengths[:, None] - 1
    inside = begin[:, None] + np.clip(columns, np.minimum(inner, 1)[:, None], inner[:, None])
    places = np.where(columns == 0, 0, np.where(is_last, rows.lengths[source][:, None] - 1, inside))
    last_column = rows.input_ids.shape[1] - 1
    ids = rows.input_ids[source[:, None], np.minimum(places, last_column)]
    documents = rows.document_ids[source[:, None], np.minimum(inside, last_column)]
    documents = documents - documents[:, :1]
    pieces = Rows(
        input_ids=np.where(is_real, ids, pad_id),
        lengths=lengths,
        token_type_ids=None,
        document_ids=np.where(is_real, documents, -1).astype(np.int32),
    )
    return pieces, source, nth
