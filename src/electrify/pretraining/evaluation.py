"""Held-out figures of a run, and whether they say that it does not learn."""

import numpy as np
import torch

from electrify.data.shards import ShardFolder
from electrify.objectives.objective import AnyObjective, join_figures
from electrify.pretraining.batches import BatchReader
from electrify.training.precision import autocast

_FREQUENCY_ROWS = 1024


@torch.no_grad()
def evaluate(objective: AnyObjective, batches: BatchReader, *, dtype: torch.dtype) -> dict[str, float]:
    """Return mean losses and diagnosed figures of the held-out rows; empty if there are none.

    Args:
        objective: What is trained; put into evaluation mode.
        batches: Where the rows come from.
        dtype: Number format of the matrix products.
    """
    objective.eval()
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    figures = []
    for batch in batches.held_out():
        with autocast(batches.device, dtype):
            output = objective(batch, totals=batch.counts, with_figures=True)
        for name, value in output.sums.items():
            sums[name] = sums.get(name, 0.0) + float(value)
            counts[name] = counts.get(name, 0) + batch.counts[name]
        figures.append(objective.figures(output))
    if not figures:
        return {}
    losses = {name: value / max(1, counts[name]) for name, value in sums.items()}
    return {**losses, **objective.diagnose(join_figures(figures))}


def count_tokens(shards: ShardFolder) -> torch.Tensor:
    """Return how often each token that is not special occurs in the first rows of the training part, (V,) int64."""
    tokenizer = shards.tokenizer()
    num_rows = min(_FREQUENCY_ROWS, shards.num_rows("train"))
    ids = torch.from_numpy(shards.rows("train", np.arange(num_rows)).input_ids).flatten()
    counts = torch.bincount(ids, minlength=tokenizer.vocab_size)
    counts[list(tokenizer.special_ids)] = 0
    return counts
