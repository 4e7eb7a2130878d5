"""From rows of ids to what an objective takes: the batches of a step, and those that are held out."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from electrify.config import PretrainConfig
from electrify.data.cutting import cut_rows
from electrify.data.loader import RowOrder
from electrify.data.shards import Part, Rows, ShardFolder
from electrify.errors import ConfigError
from electrify.models.inputs import Inputs
from electrify.noise import OTHER_ROWS, PIECES, fold, row_keys, uniform
from electrify.objectives.objective import AnyObjective, Batch
from electrify.pretraining.growth import BatchGrowth, LengthGrowth
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
        _refuse(config, shards, objective)
        self._lengths = LengthGrowth(config.schedule, shards.max_length)
        self._pad_id: int = shards.manifest["special_ids"]["[PAD]"]
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
        """Read the validation rows that the config asks for, the same ones with the same masks each time.

        They come in batches as large as a step's, each dealt out by itself: what is compared within a batch is then the
        same on any number of processes.
        """
        if self._num_held_out:
            order = RowOrder(self._shards.num_rows("validation"), seed=_EVALUATION_SEED)
            indices = order.row_indices(0, self._num_held_out)
            borders = list(range(self._growth.full, self._num_held_out, self._growth.full))
            if borders and self._num_held_out - borders[-1] < self._world.size:
                borders.pop()  # each process needs a row
            for some in np.split(indices, borders):
                yield from self._prepare("validation", some, seed=_EVALUATION_SEED, step=0)

    def epoch_of(self, step: int) -> int:
        """Return the epoch, from 0, that the first row of a step belongs to."""
        return self._growth.first_row(step) // self._order.num_rows

    def _prepare(self, part: Part, indices: NDArray[np.int64], *, seed: int, step: int) -> Iterator[Batch]:
        for own in deal_out(indices, self._world.rank, self._world.size, micro_batch_size=self._micro_batch_size):
            keys = row_keys(seed, step, torch.from_numpy(own))
            has_others = self._objective.needs_others
            others = draw_others(own, keys, num_rows=self._shards.num_rows(part)) if has_others else own[:0]
            rows = self._shards.rows(part, np.concatenate([own, others]))
            length = self._lengths.length(step) if part == "train" else self._shards.max_length
            if length < self._shards.max_length:
                rows, source, number = cut_rows(rows, length, pad_id=self._pad_id)
                keys = fold(fold(keys[torch.from_numpy(source)], PIECES), torch.from_numpy(number))
            isolate_documents = self._config.data.isolate_documents or has_others
            inputs = to_inputs(rows, self.device, isolate_documents=isolate_documents)
            yield self._objective.prepare(inputs, keys.to(self.device))


def _refuse(config: PretrainConfig, shards: ShardFolder, objective: AnyObjective) -> None:
    """Raise ConfigError if rows can not be mixed or cut, or the batch can not grow, as asked for."""
    kind, start = config.objective.kind, config.schedule.length_start
    has_segments = shards.manifest["settings"]["pack"] == "segments"
    if objective.needs_others and has_segments:
        raise ConfigError(
            f'{shards.path}: prepared with --pack segments, but objective.kind = "{kind}" makes pairs of segments '
            "itself. Prepare with --pack pieces."
        )
    training = config.training
    if training.batch_size_start not in (None, training.batch_size) and not training.batch_warmup_steps:
        raise ConfigError(
            f"training.batch_size_start = {training.batch_size_start} has no effect with training.batch_warmup_steps = "
            "0. Set the steps over which the batch grows, or leave it out."
        )
    if training.batch_size_start is None and training.batch_warmup_steps:
        raise ConfigError("training.batch_warmup_steps has no effect without training.batch_size_start. Set both.")
    if start is None and config.schedule.length_warmup_steps:
        raise ConfigError("schedule.length_warmup_steps has no effect without schedule.length_start. Set both.")
    if start is None:
        return
    if has_segments:
        raise ConfigError(f"{shards.path}: rows of two segments can not be cut; leave out schedule.length_start.")
    if objective.needs_others:
        raise ConfigError(f'objective.kind = "{kind}" cuts rows itself; leave out schedule.length_start.')
    if start > shards.max_length:
        raise ConfigError(f"schedule.length_start = {start}, but the rows of {shards.path} have {shards.max_length}.")
    if start < shards.max_length and not config.schedule.length_warmup_steps:
        raise ConfigError(
            f"schedule.length_start = {start} has no effect with schedule.length_warmup_steps = 0. Set the steps over "
            "which the rows grow, or leave it out."
        )


def draw_others(rows: NDArray[np.int64], keys: Tensor, *, num_rows: int) -> NDArray[np.int64]:
    """Draw another row for each of some rows, all others alike; of a single row there is none but itself.

    Args:
        rows: Row numbers, (B,).
        keys: One key a row, (B,) int64.
        num_rows: Rows to draw from.
    """
    steps = 1 + (uniform(fold(keys, OTHER_ROWS)) * (num_rows - 1)).long()
    others: NDArray[np.int64] = (rows + steps.numpy()) % num_rows
    return others


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
