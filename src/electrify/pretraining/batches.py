"""From rows of ids to what an objective takes: the batches of a step, and those that are held out."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from electrify.config import PretrainConfig
from electrify.data.loader import RowOrder
from electrify.data.shards import Part, Rows, ShardFolder
from electrify.errors import ConfigError
from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.objectives.objective import AnyObjective, Batch
from electrify.pretraining.growth import BatchGrowth
from electrify.training.distributed import World

_EVALUATION_SEED = 20_200_310  # masks of the held-out rows are the same in all runs


class BatchReader:
    """Reads rows and lets the objective prepare them.

    Args:
        config: The run's config.
        shards: Where the rows are.
        objective: What prepares them.
        device: Where the tensors go.
        world: The processes among which rows are dealt out; this one reads its own.
    """

    def __init__(
        self,
        config: PretrainConfig,
        shards: ShardFolder,
        objective: AnyObjective,
        *,
        device: torch.device,
        world: World,
    ) -> None:
        self._num_held_out = min(config.evaluation.num_rows, shards.num_rows("validation"))
        self._growth = BatchGrowth(config.training)
        if self._growth.smallest < world.size or 0 < self._num_held_out < world.size:
            raise ConfigError(
                f"{world.size} processes, but the rows of a step (training.batch_size) are {self._growth.smallest} and "
                f"{self._num_held_out} held-out rows are used (evaluation.num_rows): each process needs a row of both."
            )
        self._config = config
        self._shards = shards
        self._objective = objective
        self.device = device
        self._world = world
        self._order = RowOrder(shards.num_rows("train"), seed=config.seed)
        self._micro_batch_size = config.training.micro_batch_size or -(-config.training.batch_size // world.size)

    def of_step(self, step: int) -> list[Batch]:
        """Return this process's micro-batches of an optimizer step; all processes have equally many.

        Args:
            step: Optimizer steps already taken.
        """
        indices = self._order.row_indices(step, self._growth.size(step), start=self._growth.first_row(step))
        return list(self._prepare("train", indices, seed=self._config.seed, step=step))

    def held_out(self) -> Iterator[Batch]:
        """Read the validation rows that the config asks for, the same ones with the same masks each time."""
        if self._num_held_out:
            order = RowOrder(self._shards.num_rows("validation"), seed=_EVALUATION_SEED)
            indices = order.row_indices(0, self._num_held_out)
            yield from self._prepare("validation", indices, seed=_EVALUATION_SEED, step=0)

    def epoch_of(self, step: int) -> int:
        """Return the epoch, from 0, that the first row of a step belongs to."""
        return self._growth.first_row(step) // self._order.num_rows

    def _prepare(self, part: Part, indices: NDArray[np.int64], *, seed: int, step: int) -> Iterator[Batch]:
        for some in deal_out(indices, self._world.rank, self._world.size, micro_batch_size=self._micro_batch_size):
            rows = self._shards.rows(part, some)
            inputs = to_inputs(rows, self.device, isolate_documents=self._config.data.isolate_documents)
            keys = row_keys(seed, step, torch.from_numpy(some))
            yield self._objective.prepare(inputs, keys.to(self.device))


def deal_out(indices: NDArray[np.int64], rank: int, size: int, *, micro_batch_size: int) -> list[NDArray[np.int64]]:
    """Return the micro-batches of one process: every row goes to one of them.

    All processes get equally many, as each must take part in every exchange. Where rows do not divide evenly, a
    micro-batch may therefore have one row more than asked for.

    Args:
        indices: Row numbers of the whole batch, (B,), B ≥ size.
        rank: Number of the process.
        size: How many there are.
        micro_batch_size: Rows per micro-batch.
    """
    shares = np.array_split(indices, size)
    num_parts = min(-(-len(shares[0]) // micro_batch_size), len(shares[-1]))
    mine = shares[rank]
    if num_parts * micro_batch_size >= len(mine):
        parts = [mine[start : start + micro_batch_size] for start in range(0, len(mine), micro_batch_size)]
        if len(parts) == num_parts:
            return parts
    return np.array_split(mine, num_parts)


def to_inputs(rows: Rows, device: torch.device, *, isolate_documents: bool = False) -> Inputs:
    """Turn rows of ids into a network's inputs; no mask where all rows are full.

    Args:
        rows: From a shard folder.
        device: Where the tensors go.
        isolate_documents: Whether attention stays within a document.
    """
    input_ids = torch.from_numpy(rows.input_ids)
    lengths = torch.from_numpy(rows.lengths)
    length = input_ids.shape[1]
    attention_mask = None if bool((lengths == length).all()) else torch.arange(length) < lengths[:, None]
    return Inputs(
        input_ids=input_ids.to(device, non_blocking=True),
        attention_mask=None if attention_mask is None else attention_mask.to(device, non_blocking=True),
        token_type_ids=None if rows.token_type_ids is None else torch.from_numpy(rows.token_type_ids).to(device),
        document_ids=torch.from_numpy(rows.document_ids).to(device) if isolate_documents else None,
    )
