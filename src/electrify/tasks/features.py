"""Texts as the ids a network reads, made once and batched many times.

A *row* is what the network reads at once. A *unit* is what a batch is counted in: one row, or several that belong
together, such as the choices of a question or the windows of a long text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch

from electrify.data.batching import pad
from electrify.data.labelled import Example
from electrify.data.tokenizer import Tokenizer
from electrify.models.inputs import Inputs


@dataclass(frozen=True)
class Features:
    """Encoded examples."""

    ids: list[list[int]]
    """One list a row: [CLS] text [SEP], or [CLS] text [SEP] text_b [SEP]."""
    type_ids: list[list[int]] | None
    """Segments; None if no example is a pair."""
    num_cut_examples: int
    """Examples longer than the limit."""
    num_cut_tokens: int
    """Tokens that were cut off them."""
    unit_ends: np.ndarray | None = None
    """Behind the last row of each unit, (U,) int64; None if every row is a unit."""

    @property
    def lengths(self) -> list[int]:
        """Return the tokens of each row."""
        return [len(ids) for ids in self.ids]

    @cached_property
    def ends(self) -> np.ndarray:
        """Return where the rows of each unit end, (U,) int64."""
        return np.arange(1, len(self.ids) + 1) if self.unit_ends is None else self.unit_ends

    @cached_property
    def starts(self) -> np.ndarray:
        """Return the first row of each unit, (U,) int64."""
        return np.concatenate([np.zeros(1, dtype=np.int64), self.ends[:-1]])

    @property
    def num_units(self) -> int:
        """Return the number of units."""
        return len(self.ends)

    @cached_property
    def used_ids(self) -> np.ndarray:
        """Return the ids that occur, in rising order, (W,) int64."""
        return np.unique(np.fromiter(chain.from_iterable(self.ids), dtype=np.int64))

    @cached_property
    def unit_lengths(self) -> np.ndarray:
        """Return the tokens of the longest row of each unit, (U,) int64."""
        lengths = np.asarray(self.lengths, dtype=np.int64)
        return np.maximum.reduceat(lengths, self.starts) if len(lengths) else lengths

    def rows(self, units: np.ndarray) -> np.ndarray:
        """Return the rows of some units in their order, (B,) int64."""
        if self.unit_ends is None:
            return units
        return np.concatenate([np.arange(self.starts[unit], self.ends[unit]) for unit in units])


def encode_examples(examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int) -> Features:
    """Encode examples, pairs and single texts; those too long are cut, the longer text of a pair first, and counted."""
    has_pairs = any(example.text_b is not None for example in examples)
    encoded = tokenizer.encode(
        [example.text for example in examples],
        [example.text_b for example in examples] if has_pairs else None,
        max_length=max_length,
    )
    # An example may stand here several times: with each of its choices, or in both orders.
    cut = {examples[row].place or row for row, one in enumerate(encoded) if one.num_cut}
    return Features(
        ids=[one.input_ids for one in encoded],
        type_ids=[one.token_type_ids for one in encoded] if has_pairs else None,
        num_cut_examples=len(cut),
        num_cut_tokens=sum(one.num_cut for one in encoded),
    )


def encode_windows(examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int, overlap: int) -> Features:
    """Encode single texts without a cut: a text over `max_length` becomes several rows of one unit.

    Args:
        examples: Texts; none a pair.
        tokenizer: Makes the ids.
        max_length: Most tokens of a row, special ones included.
        overlap: Tokens that neighbouring windows share.
    """
    room = max_length - 2
    ids, ends = [], []
    for encoded in tokenizer.encode([example.text for example in examples], max_length=_NO_LIMIT):
        pieces = encoded.input_ids[1:-1]
        ids += [
            [tokenizer.cls_id, *pieces[start : start + room], tokenizer.sep_id]
            for start in window_starts(len(pieces), room, overlap)
        ]
        ends.append(len(ids))
    return Features(ids, None, 0, 0, np.array(ends, dtype=np.int64))


def window_starts(length: int, room: int, overlap: int) -> list[int]:
    """Return where windows of `room` tokens begin that cover `length` tokens; one window at least.

    Neighbours share `overlap` tokens, less than half of the room, and the last window is full like the others.
    """
    if length <= room:
        return [0]
    step = room - min(overlap, (room - 1) // 2)
    return [min(start, length - room) for start in range(0, length - room + step, step)]


_NO_LIMIT = 1 << 40


def batch_inputs(
    features: Features,
    indices: np.ndarray,
    *,
    pad_id: int,
    device: torch.device,
    dropout_keys: torch.Tensor | None = None,
) -> Inputs:
    """Return some rows as a network's inputs, padded to the longest of them.

    Args:
        features: All examples.
        indices: Which rows, (B,).
        pad_id: Id of [PAD].
        device: Where the tensors go.
        dropout_keys: See `Inputs`.
    """
    rows = [features.ids[index] for index in indices]
    lengths = torch.tensor([len(row) for row in rows])
    input_ids = torch.from_numpy(pad(rows, value=pad_id))
    length = input_ids.shape[1]
    is_full = bool((lengths == length).all())
    type_ids = None
    if features.type_ids is not None:
        type_ids = torch.from_numpy(pad([features.type_ids[index] for index in indices], value=0)).to(device)
    return Inputs(
        input_ids=input_ids.to(device),
        attention_mask=None if is_full else (torch.arange(length) < lengths[:, None]).to(device),
        token_type_ids=type_ids,
        dropout_keys=None if dropout_keys is None else dropout_keys.to(device),
    )
