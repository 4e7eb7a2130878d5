"""From units of a part to what a network reads: batches, micro-batches, and predictions over a whole part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from electrify.models.heads import TaskNetwork
from electrify.noise import row_keys
from electrify.tasks.features import Features, batch_inputs
from electrify.tasks.task import Batch, Encoded, Task
from electrify.training.precision import autocast, choose_device, resolve_precision

MAX_TOKENS = 16_384
"""Tokens of one forward pass in training, padding included; an optimizer step may take several."""
_PREDICT_TOKENS = 8_192


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a network runs, and what padding is."""

    device: torch.device
    dtype: torch.dtype
    pad_id: int


def choose_place(precision: str, *, pad_id: int) -> Place:
    """Return the place for a precision as the config names it."""
    device = choose_device()
    return Place(device, resolve_precision(precision, device), pad_id)


def make_batch(encoded: Encoded, units: np.ndarray, place: Place, *, key: tuple[int, int] | None = None) -> Batch:
    """Return some units as a batch.

    Args:
        encoded: The part.
        units: Which units, (U,) int64.
        place: Where the tensors go.
        key: Seed and step that dropout depends on; None for no dropout.
    """
    rows = encoded.features.rows(units)
    keys = None if key is None else row_keys(key[0], key[1], torch.from_numpy(rows))
    inputs = batch_inputs(encoded.features, rows, pad_id=place.pad_id, device=place.device, dropout_keys=keys)
    return Batch(inputs, units, rows, encoded)


def split_units(
    features: Features, units: np.ndarray, *, max_units: int | None, max_tokens: int
) -> Iterator[np.ndarray]:
    """Yield consecutive parts of some units of at most so many units and tokens, padding included."""
    sizes = features.ends[units] - features.starts[units]
    lengths = features.unit_lengths[units]
    first = 0
    rows, longest = 0, 0
    for index in range(len(units)):
        new_rows, new_longest = rows + int(sizes[index]), max(longest, int(lengths[index]))
        is_full = index - first == max_units or new_rows * new_longest > max_tokens
        if index > first and is_full:
            yield units[first:index]
            first, new_rows, new_longest = index, int(sizes[index]), int(lengths[index])
        rows, longest = new_rows, new_longest
    yield units[first:]


def predict_outputs(network: TaskNetwork, task: Task, encoded: Encoded, place: Place) -> list[np.ndarray]:
    """Return the task's outputs for all units of a part in their order; units of like length are computed together."""
    order = np.argsort(encoded.features.unit_lengths, kind="stable")[::-1].copy()
    outputs: list[np.ndarray | None] = [None] * len(order)
    with torch.no_grad(), autocast(place.device, place.dtype):
        for units in split_units(encoded.features, order, max_units=None, max_tokens=_PREDICT_TOKENS):
            found = task.outputs(network, make_batch(encoded, units, place))
            for unit, output in zip(units, found, strict=True):
                outputs[unit] = output
    return [output for output in outputs if output is not None]


def num_cut(parts: Sequence[Encoded]) -> int:
    """Return the number of examples of some parts that were cut."""
    return sum(part.features.num_cut_examples for part in parts)
