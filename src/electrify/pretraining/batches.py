"""From rows of ids to what an objective takes: the batches of a step, and those that are held out."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from electrify.config import PretrainConfig
from electrify.data.loader import RowOrder
from electrify.data.shards import Part, Rows, ShardFolder
from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.objectives.objective import AnyObjective, Batch

_EVALUATION_SEED = 20_200_310  # masks of the held-out rows are the same in all runs


class BatchReader:
    """Reads rows and lets the objective prepare them.

    Args:
        config: The run's config.
        shards: Where the rows are.
        objective: What prepares them.
        device: Where the tensors go.
    """

    def __init__(
        self, config: PretrainConfig, shards: ShardFolder, objective: AnyObjective, *, device: torch.device
    ) -> None:
        self._config = config
        self._shards = shards
        self._objective = objective
        self.device = device
        self._order = RowOrder(shards.num_rows("train"), seed=config.seed)
        self._micro_batch_size = config.training.micro_batch_size or config.training.batch_size

    def of_step(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimizer step.

        Args:
            step: Optimizer steps already taken.
        """
        indices = self._order.row_indices(step, self._config.training.batch_size)
        return list(self._prepare("train", indices, seed=self._config.seed, step=step))

    def held_out(self) -> Iterator[Batch]:
        """Read the validation rows that the config asks for, the same ones with the same masks each time."""
        num_rows = min(self._config.evaluation.num_rows, self._shards.num_rows("validation"))
        if num_rows:
            order = RowOrder(self._shards.num_rows("validation"), seed=_EVALUATION_SEED)
            yield from self._prepare("validation", order.row_indices(0, num_rows), seed=_EVALUATION_SEED, step=0)

    def epoch_of(self, step: int) -> int:
        """Return the epoch, from 0, that the first row of a step belongs to."""
        return self._order.epoch_of(step, self._config.training.batch_size)

    def _prepare(self, part: Part, indices: NDArray[np.int64], *, seed: int, step: int) -> Iterator[Batch]:
        for start in range(0, len(indices), self._micro_batch_size):
            some = indices[start : start + self._micro_batch_size]
            rows = self._shards.rows(part, some)
            inputs = to_inputs(rows, self.device, isolate_documents=self._config.data.isolate_documents)
            keys = row_keys(seed, step, torch.from_numpy(some))
            yield self._objective.prepare(inputs, keys.to(self.device))


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
