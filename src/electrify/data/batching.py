"""Batches of examples of unlike lengths, with little padding.

Examples are shuffled, sorted by length within pools of some batches, and the batches are shuffled again, so that every
epoch has its own order and a batch holds examples of like length. A pure function of (seed, epoch).
"""

from collections.abc import Sequence

import numpy as np

_BATCHES_A_POOL = 32


def batches_by_length(
    lengths: Sequence[int] | np.ndarray, *, batch_size: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """Return the examples of each batch of one epoch; every example once, only the last made batch may be short.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples a batch.
        seed: The run's seed.
        epoch: Passes over the examples before this one.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    order = generator.permutation(len(lengths))
    pool_size = batch_size * _BATCHES_A_POOL
    batches: list[np.ndarray] = []
    for start in range(0, len(order), pool_size):
        pool = order[start : start + pool_size]
        by_length = pool[np.argsort(np.asarray(lengths)[pool], kind="stable")]
        batches += [by_length[first : first + batch_size] for first in range(0, len(by_length), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def pad(rows: Sequence[Sequence[int]], *, value: int) -> np.ndarray:
    """Return rows of ids as one array, padded behind to the longest, (B, T) int64."""
    longest = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), longest), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
