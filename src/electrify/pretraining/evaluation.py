"""Held-out figures of a run, and what is known of its tokens before it starts."""

import numpy as np
import torch
from torch import Tensor

from electrify.data.shards import ShardFolder
from electrify.objectives.objective import AnyObjective, join_figures
from electrify.pretraining.batches import BatchReader
from electrify.pretraining.step import add_up, join_up
from electrify.training.distributed import World
from electrify.training.parallel import Parallel
from electrify.training.precision import autocast

_FREQUENCY_ROWS = 1024


@torch.no_grad()
def evaluate(
    objective: AnyObjective, parallel: Parallel[AnyObjective], batches: BatchReader, *, world: World, dtype: torch.dtype
) -> dict[str, float]:
    """Return mean losses and diagnosed figures of the held-out rows, the same on all processes; empty without rows.

    What has no terms in them, such as the loss of a kind of rows that none is of, is left out.

    Args:
        objective: What is trained; put into evaluation mode.
        parallel: The same, as the processes train it together.
        batches: Where the rows come from.
        world: The processes.
        dtype: Number format of the matrix products.
    """
    objective.eval()
    sums: dict[str, Tensor] = {}
    figures = []
    for batch in batches.held_out():
        with autocast(batches.device, dtype):
            output = parallel(batch, totals=batch.counts, with_figures=True)
        for name, value in output.sums.items():
            terms = torch.tensor(batch.counts[name], dtype=torch.float64, device=batches.device)
            part = torch.stack([value.double(), terms])
            sums[name] = sums[name] + part if name in sums else part
        figures.append(objective.figures(output))
    parallel.forget_gathered()  # they may be averages
    if not figures:
        return {}
    totals = {name: total.tolist() for name, total in add_up(sums, world).items()}
    losses = {name: total / count for name, (total, count) in totals.items() if count}
    return {**losses, **objective.diagnose(join_up(join_figures(figures), world))}


def count_tokens(shards: ShardFolder) -> Tensor:
    """Return how often each token that is not special occurs in the first rows of the training part, (V,) int64."""
    tokenizer = shards.tokenizer()
    num_rows = min(_FREQUENCY_ROWS, shards.num_rows("train"))
    ids = torch.from_numpy(shards.rows("train", np.arange(num_rows)).input_ids).flatten()
    counts = torch.bincount(ids, minlength=tokenizer.vocab_size)
    counts[list(tokenizer.special_ids)] = 0
    return counts
