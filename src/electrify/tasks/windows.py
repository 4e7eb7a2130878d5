"""Sentences of words to rows of pieces, with the words that each row is asked about."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from electrify.data.tokenizer import Tokenizer
from electrify.tasks.features import window_starts


@dataclass(frozen=True, slots=True)
class WordRow:
    """One row of a sentence."""

    ids: list[int]
    sentence: int
    """Number of the sentence."""
    words: np.ndarray
    """Words that are judged in this row, (W,) int64."""
    pieces: np.ndarray
    """Where in the row their first pieces stand, (W,) int64."""


def window_rows(
    sentences: Sequence[Sequence[str]], tokenizer: Tokenizer, *, max_length: int, overlap: int
) -> tuple[list[WordRow], int, int]:
    """Encode sentences; those too long become several rows that share `overlap` pieces.

    Returns:
        The rows, the number of pieces cut off words that alone are longer than a row, and the number of words that the
        tokenizer gives no piece for (control characters, say), which are read as [UNK].
    """
    rows: list[WordRow] = []
    num_cut = num_unknown = 0
    room = max_length - 2
    for number, pieces_of in enumerate(tokenizer.encode_words(sentences)):
        num_unknown += sum(not pieces for pieces in pieces_of)
        num_cut += sum(max(0, len(pieces) - room) for pieces in pieces_of)
        kept = [pieces[:room] or [tokenizer.unk_id] for pieces in pieces_of]
        flat = [piece for pieces in kept for piece in pieces]
        firsts = np.concatenate([[0], np.cumsum([len(pieces) for pieces in kept])[:-1]]).astype(np.int64)
        starts = np.array(window_starts(len(flat), room, overlap))
        # A word belongs to the window where the nearer edge is farthest away.
        context = np.minimum(firsts[:, None] - starts, starts + min(room, len(flat)) - 1 - firsts[:, None])
        home = context.argmax(1)
        for index, start in enumerate(starts):
            words = np.flatnonzero(home == index)
            ids = [tokenizer.cls_id, *flat[start : start + room], tokenizer.sep_id]
            rows.append(WordRow(ids, number, words, firsts[words] - start + 1))
    return rows, num_cut, num_unknown
