"""electrify's own side of `bench step`: the step that `pretrain` takes, on rows that are in memory."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from electrify.bench.parts import Stopwatch
from electrify.bench.rows import made_up_tokenizer, pack, read_sequences
from electrify.config import PretrainConfig
from electrify.data.shards import Rows
from electrify.noise import row_keys
from electrify.objectives.objective import AnyObjective, Batch
from electrify.pretraining.batches import to_inputs
from electrify.pretraining.objectives import build_rtd
from electrify.pretraining.step import TrainingStep
from electrify.training.optimizers import Optimizer, split_by_decay
from electrify.training.precision import choose_device, resolve_precision
from electrify.training.process import settle

_INSPECTED_STEPS = 4


class PackedBatches:
    """Batches of rows that are in memory, prepared as `pretraining.batches.BatchReader` prepares those of shards.

    Args:
        config: Seed, micro-batches and isolation of documents.
        rows: The rows of each step.
        objective: What prepares them.
        device: Where the tensors go.
    """

    def __init__(
        self, config: PretrainConfig, rows: Sequence[Rows], objective: AnyObjective, *, device: torch.device
    ) -> None:
        self._config = config
        self._rows = rows
        self._objective = objective
        self.device = device
        self.watch: Stopwatch | None = None

    def of_step(self, step: int) -> list[Batch]:
        """Return the micro-batches of a step, counted from 0."""
        rows = self._rows[step]
        size = self._config.training.micro_batch_size or len(rows.lengths)
        batches: list[Batch] = []
        for start in range(0, len(rows.lengths), size):
            some = torch.arange(start, min(start + size, len(rows.lengths)))
            inputs = to_inputs(
                _part(rows, slice(start, start + size)),
                self.device,
                isolate_documents=self._config.data.isolate_documents,
            )
            keys = row_keys(self._config.seed, step, some)
            batches.append(self._objective.prepare(inputs, keys.to(self.device)))
        if self.watch is not None:
            self.watch.end("masking")
        return batches


class StepContender:
    """Takes the step of batch n when it is called with n; made by `build_step`."""

    def __init__(self, work: dict[str, Any]) -> None:
        config = PretrainConfig(**work["config"])
        tokenizer = made_up_tokenizer(work["vocab_size"])
        device = choose_device()
        # Rows are packed once, when a corpus is prepared; so they are here, before any time is taken.
        sequences, size = read_sequences(work["rows"]), work["batch"]
        rows = [
            pack(sequences[start : start + size], room=work["length"], pad_id=tokenizer.pad_id)
            for start in range(0, len(sequences), size)
        ]
        self._num_batches = len(rows)
        self._rtd = build_rtd(config, tokenizer).to(device)
        self._batches = PackedBatches(config, rows, self._rtd, device=device)
        self._optimizer = _WatchedOptimizer(split_by_decay(self._rtd.named_parameters()), config.optimizer)
        dtype = resolve_precision(config.training.precision, device)
        self._step = TrainingStep(self._rtd, self._optimizer, self._batches, dtype=dtype)
        settle()  # as `training.loop.run` does before its first step

    def __call__(self, number: int) -> dict[str, float]:
        """Take a step; returns the losses in nats, so that all of it is done."""
        result = self._step.take(number, 1.0)
        return {name: float(value) / max(1, result.counts[name]) for name, value in result.sums.items()}

    def inspect(self) -> dict[str, float]:
        """Return the seconds that the parts of a step take, on average over the first batches."""
        watch = Stopwatch(self._batches.device)
        count = min(_INSPECTED_STEPS, self._num_batches)
        self._batches.watch = self._optimizer.watch = watch
        with watch.watching(self._rtd):
            for number in range(count):
                watch.start()
                self(number)
                watch.end("optimizer")
        self._batches.watch = self._optimizer.watch = None
        return {part: seconds / count for part, seconds in watch.seconds.items()}


class _WatchedOptimizer(Optimizer):
    watch: Stopwatch | None = None

    def clip(self) -> Tensor:
        if self.watch is not None:
            self.watch.end("backward")
        return super().clip()


def build_step(work: dict[str, Any]) -> StepContender:
    """Return what takes the step of batch n when it is called with n."""
    return StepContender(work)


def _part(rows: Rows, part: slice) -> Rows:
    types = None if rows.token_type_ids is None else rows.token_type_ids[part]
    return Rows(rows.input_ids[part], rows.lengths[part], types, rows.document_ids[part])
