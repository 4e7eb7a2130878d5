"""Rows to measure with: made-up sequences, as long as natural ones or all full, and how they are packed.

Ids follow Zipf's law, so that embeddings are read as with text; nothing is learned from them. Natural lengths are drawn
from a Gamma distribution with shape 4 and a mean of 60 % of the longest, cut to [8, longest].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from electrify.data.shards import Rows
from electrify.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from electrify.data.tokenizer_files import from_vocabulary

Kind = Literal["natural", "dense"]
Sequences = list[NDArray[np.int64]]

_GAMMA_SHAPE = 4.0
_MEAN_SHARE = 0.6
_SHORTEST = 8
_ZIPF_SHIFT = 2.7  # Mandelbrot's correction for the most frequent words


def made_up_tokenizer(vocab_size: int) -> Tokenizer:
    """Return a tokenizer with as many tokens, each a word of its own."""
    words = [f"w{number}" for number in range(vocab_size - len(SPECIAL_TOKENS))]
    return from_vocabulary([*SPECIAL_TOKENS, *words], is_cased=False)


def make_sequences(num: int, *, kind: Kind, length: int, tokenizer: Tokenizer, seed: int) -> Sequences:
    """Return sequences [CLS] … [SEP].

    Args:
        num: How many.
        kind: "natural" lengths, or "dense": all of the full length.
        length: Longest sequence, special tokens included.
        tokenizer: Ids are drawn from its vocabulary, special ones left out.
        seed: Of lengths and ids.
    """
    draw = np.random.Generator(np.random.Philox(key=seed))
    lengths = np.full(num, length)
    if kind == "natural":
        drawn = draw.gamma(_GAMMA_SHAPE, _MEAN_SHARE * length / _GAMMA_SHAPE, size=num)
        lengths = np.clip(np.round(drawn), min(_SHORTEST, length), length).astype(np.int64)
    usable = np.setdiff1d(np.arange(tokenizer.vocab_size), tokenizer.special_ids)
    weights = 1 / (np.arange(len(usable)) + 1 + _ZIPF_SHIFT)
    ids = draw.choice(usable, size=int(lengths.sum()), p=weights / weights.sum())
    sequences = np.split(ids.astype(np.int64), np.cumsum(lengths)[:-1])
    for sequence in sequences:
        sequence[0], sequence[-1] = tokenizer.cls_id, tokenizer.sep_id
    return sequences


def write_sequences(path: Path, sequences: Sequences) -> None:
    """Write sequences as `ids`, one after another, and `lengths`."""
    np.savez(path, ids=np.concatenate(sequences), lengths=[len(sequence) for sequence in sequences])


def read_sequences(path: str | Path) -> Sequences:
    """Read what `write_sequences` wrote."""
    with np.load(path) as arrays:
        return np.split(arrays["ids"], np.cumsum(arrays["lengths"])[:-1])


def fill_rows(lengths: Sequence[int], *, room: int) -> list[list[int]]:
    """Put whole sequences together into few rows: the longest first, each into the first row where it fits.

    Args:
        lengths: Tokens of each sequence, at most `room`.
        room: Tokens of a row.

    Returns:
        The sequences of each row.
    """
    rows: list[list[int]] = []
    left: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        fitting = next((row for row, space in enumerate(left) if space >= lengths[index]), None)
        if fitting is None:
            rows.append([])
            left.append(room)
            fitting = len(rows) - 1
        rows[fitting].append(index)
        left[fitting] -= lengths[index]
    return rows


def pack(sequences: Sequences, *, room: int, pad_id: int) -> Rows:
    """Return sequences as few rows of several documents each.

    Args:
        sequences: None longer than `room`.
        room: Tokens of a row.
        pad_id: What fills the little that is left.
    """
    rows = fill_rows([len(sequence) for sequence in sequences], room=room)
    input_ids = np.full((len(rows), room), pad_id, dtype=np.int64)
    document_ids = np.full((len(rows), room), -1, dtype=np.int32)
    lengths = np.zeros(len(rows), dtype=np.int64)
    for row, members in enumerate(rows):
        together = np.concatenate([sequences[index] for index in members])
        lengths[row] = len(together)
        input_ids[row, : len(together)] = together
        sizes = [len(sequences[index]) for index in members]
        document_ids[row, : len(together)] = np.repeat(np.arange(len(members)), sizes)
    return Rows(input_ids, lengths, None, document_ids)
