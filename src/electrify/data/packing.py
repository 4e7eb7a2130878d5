"""Documents' token ids to rows: which stretch of the token stream a network sees at once.

A row is a record (start, length_a, length_b): segment A is stream[start : start + length_a], B follows it. The network
sees [CLS] A [SEP], or [CLS] A [SEP] B [SEP]. Three ways to cut:

- `dense`: windows over the whole stream, across the borders of sentences and documents; every token once, no padding.
- `pieces`: windows that begin anew with each document; every token once, the last row of a document may be short.
- `segments`: pairs of text segments as ELECTRA was trained on (Clark et al. 2020; facts from its published builder of
  pre-training data): lines are sentences, 10 % of the rows have one segment, 5 % get a random short length, about half
  of a row's sentences are A. What does not fit into a row is cut off, as there, and counted.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROW_DTYPE = np.dtype([("start", "<u8"), ("length_a", "<u2"), ("length_b", "<u2")])

_SINGLE_PROB = 0.1
_SHORT_PROB = 0.05
_SHORTEST = 5
_OVERFULL_A_PROB = 0.5


def dense_rows(num_tokens: int, max_length: int) -> NDArray[np.void]:
    """Return consecutive windows over a stream.

    Args:
        num_tokens: Length of the stream.
        max_length: Tokens of a row with [CLS] and [SEP]; the last row may be shorter.

    Returns:
        Rows, (N,) of `ROW_DTYPE`.
    """
    return piece_rows(np.array([num_tokens], dtype=np.int64), max_length)


def piece_rows(document_ends: NDArray[np.integer], max_length: int) -> NDArray[np.void]:
    """Return windows over each document of a stream.

    Args:
        document_ends: Where each document ends in the stream, rising, (D,).
        max_length: Tokens of a row with [CLS] and [SEP].

    Returns:
        Rows, (N,) of `ROW_DTYPE`; none for an empty document.
    """
    window = max_length - 2
    ends = document_ends.astype(np.int64)
    begins = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
    counts = -((begins - ends) // window)  # rounded up
    first_row = np.cumsum(counts) - counts
    nth = np.arange(counts.sum()) - np.repeat(first_row, counts)
    rows = np.zeros(int(counts.sum()), dtype=ROW_DTYPE)
    start = np.repeat(begins, counts) + nth * window
    rows["start"] = start
    rows["length_a"] = np.minimum(window, np.repeat(ends, counts) - start)
    return rows


@dataclass(frozen=True, slots=True)
class Segments:
    """One document cut into rows of one or two segments."""

    token_ids: list[int]  # the kept tokens, row after row, A before B
    lengths: list[tuple[int, int]]  # (length_a, length_b) of each row
    num_cut: int  # tokens that did not fit


def segment_document(sentences: Sequence[Sequence[int]], *, max_length: int, seed: int) -> Segments:
    """Cut one document into rows as the original ELECTRA builder does.

    There the short lengths are drawn along a file; here along the document, so that the result depends on nothing else.

    Args:
        sentences: Token ids of the document's lines.
        max_length: Most tokens of a row, special tokens included.
        seed: Of this document's draws, such as a hash of its text.
    """
    draw = random.Random(seed)
    token_ids: list[int] = []
    lengths: list[tuple[int, int]] = []
    gathered: list[Sequence[int]] = []
    num_gathered, target = 0, _draw_target(draw, max_length)
    for index, sentence in enumerate(sentences):
        gathered.append(sentence)
        num_gathered += len(sentence)
        if num_gathered and (num_gathered >= target or index == len(sentences) - 1):
            a, b = _split(gathered, target, draw)
            a = a[: max_length - 2]
            b = b[: max(0, max_length - len(a) - 3)]
            token_ids += a + b
            lengths.append((len(a), len(b)))
            gathered, num_gathered, target = [], 0, _draw_target(draw, max_length)
    return Segments(token_ids, lengths, num_cut=sum(map(len, sentences)) - len(token_ids))


def _draw_target(draw: random.Random, max_length: int) -> int:
    return draw.randint(_SHORTEST, max_length) if draw.random() < _SHORT_PROB else max_length


def _split(sentences: Sequence[Sequence[int]], target: int, draw: random.Random) -> tuple[list[int], list[int]]:
    """Fill A up to about half of the target, B with the rest; one row in ten has no B."""
    target_a = sum(map(len, sentences)) + 1 if draw.random() < _SINGLE_PROB else (target - 3) // 2
    a: list[int] = []
    b: list[int] = []
    for sentence in sentences:
        is_room = len(a) + len(sentence) < target_a
        if not a or is_room or (not b and len(a) < target_a and draw.random() < _OVERFULL_A_PROB):
            a += sentence
        else:
            b += sentence
    return a, b
