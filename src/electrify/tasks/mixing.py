"""Which task each step of an epoch trains, when one body learns several: a pure function of (seed, epoch).

An epoch has as many batches as all parts together. A task's share of them is its share of the examples to the power
1 / temperature: 1 means in proportion to size, infinity means all alike (Raffel et al. 2020, section 3.5.2).
"""

from collections.abc import Sequence

import numpy as np

from electrify.data.batching import batches_by_length


def batches_a_task(sizes: Sequence[int], *, batch_size: int, temperature: float) -> list[int]:
    """Return the number of batches of each task in an epoch, at least one.

    Args:
        sizes: Training examples of each task.
        batch_size: Examples a batch.
        temperature: 1 and up.
    """
    whole = [-(-size // batch_size) for size in sizes]
    if temperature == 1 or len(sizes) == 1:
        return whole
    weights = np.array(sizes, dtype=np.float64) ** (1 / temperature)
    return [max(1, round(sum(whole) * share)) for share in weights / weights.sum()]


def plan_epoch(
    lengths: Sequence[np.ndarray], *, batch_size: int, temperature: float, seed: int, epoch: int
) -> list[tuple[int, np.ndarray]]:
    """Return the steps of an epoch: the number of a task and the units of its batch.

    A task with more batches than it has examples for begins its examples anew in another order.

    Args:
        lengths: Tokens of each unit, by task.
        batch_size: Units a batch.
        temperature: See above.
        seed: The run's seed.
        epoch: Epochs before this one.
    """
    counts = batches_a_task([len(one) for one in lengths], batch_size=batch_size, temperature=temperature)
    plan: list[tuple[int, np.ndarray]] = []
    for task, (mine, count) in enumerate(zip(lengths, counts, strict=True)):
        whole = -(-len(mine) // batch_size)
        batches: list[np.ndarray] = []
        passes = -(-count // whole)
        for repetition in range(passes):
            number = epoch * passes + repetition
            batches += batches_by_length(mine, batch_size=batch_size, seed=seed, epoch=number)
        plan += [(task, units) for units in batches[:count]]
    if len(lengths) == 1:
        return plan
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch + (1 << 32)]))
    return [plan[index] for index in generator.permutation(len(plan))]
