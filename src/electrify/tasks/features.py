"""Texts as the ids a network reads, made once and batched many times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from electrify.data.batching import pad
from electrify.data.labelled import Example
from electrify.data.tokenizer import Tokenizer
from electrify.models.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Features:
    """Encoded examples."""

    ids: list[list[int]]
    """[CLS] text [SEP], or [CLS] text [SEP] text_b [SEP]."""
    type_ids: list[list[int]] | None
    """Segments; None if no example is a pair."""
    num_cut_examples: int
    """Examples longer than the limit."""
    num_cut_tokens: int
    """Tokens that were cut off them."""

    @property
    def lengths(self) -> list[int]:
        """Return the tokens of each example."""
        return [len(ids) for ids in self.ids]


def encode_examples(examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int) -> Features:
    """Encode examples; those too long are cut, the longer text of a pair first, and counted."""
    has_pairs = any(example.text_b is not None for example in examples)
    encoded = tokenizer.encode(
        [example.text for example in examples],
        [example.text_b or "" for example in examples] if has_pairs else None,
        max_length=max_length,
    )
    return Features(
        ids=[one.input_ids for one in encoded],
        type_ids=[one.token_type_ids for one in encoded] if has_pairs else None,
        num_cut_examples=sum(one.num_cut > 0 for one in encoded),
        num_cut_tokens=sum(one.num_cut for one in encoded),
    )


def batch_inputs(
    features: Features,
    indices: np.ndarray,
    *,
    pad_id: int,
    device: torch.device,
    dropout_keys: torch.Tensor | None = None,
) -> Inputs:
    """Return some examples as a network's inputs, padded to the longest of them.

    Args:
        features: All examples.
        indices: Which ones, (B,).
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
