"""One seed of fine-tuning: epochs over one task or several that share a body, the best epoch kept.

Order, dropout and the mixing of tasks are functions of (seed, epoch, step), so a run that was stopped and resumed from
a saved state equals, bit for bit, one that was not. Nothing in a step waits for the device.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from electrify.config import FinetuneConfig, OptimizerConfig, ScheduleConfig
from electrify.errors import TrainingError
from electrify.models.heads import TaskNetwork
from electrify.progress import Bar
from electrify.tasks.answering import QuestionAnswering
from electrify.tasks.batches import MAX_TOKENS, Place, make_batch, predict_outputs, split_units
from electrify.tasks.groups import freeze, layerwise_groups
from electrify.tasks.judgement import Judgement, signed
from electrify.tasks.kinds import judged
from electrify.tasks.mixing import batches_a_task, plan_epoch
from electrify.tasks.task import Encoded, Task
from electrify.tasks.used_words import UsedWords
from electrify.training.checkpoints import State, load_newest_state, save_state
from electrify.training.optimizers import Optimizer
from electrify.training.precision import autocast
from electrify.training.process import settle
from electrify.training.schedules import learning_rate_factor

_BEST = "best/"
_TOTALS = "totals"


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What one seed came to."""

    seed: int
    best_epoch: int
    """Counted from 1."""
    validation: dict[str, float]
    test: dict[str, float] | None
    history: list[dict[str, float]]
    """Training loss and validation figures of each epoch."""


@dataclass(slots=True)
class Stream:
    """One task that is trained: its data and its network."""

    name: str
    task: Task
    parts: dict[str, Encoded]
    """"train", "validation" and perhaps "test"."""
    network: TaskNetwork
    metric: str


def measure(stream: Stream, part: str, place: Place, *, fits: bool = False) -> tuple[Task, Judgement]:
    """Measure a stream's network on one of its parts.

    Args:
        stream: Task, data and network.
        part: Which part.
        place: Where it runs.
        fits: Whether what a task has to fit after training, the threshold of "no answer", is fitted on this part.

    Returns:
        The task, with what was fitted, and the judgement.
    """
    task, encoded = stream.task, stream.parts[part]
    outputs = predict_outputs(stream.network, task, encoded, place)
    predictions = task.decode(outputs, encoded)
    if fits and isinstance(task, QuestionAnswering) and task.can_be_unanswerable:
        task = replace(task, threshold=task.find_threshold(encoded.examples, predictions).value)
        predictions = task.decode(outputs, encoded)
    return task, signed(task.judge(encoded.examples, predictions), judged(task, encoded.examples))


class SeedRun:
    """Training of one seed.

    Args:
        streams: The tasks; their networks share one body. Networks are trained in place.
        config: How to train.
        seed: Of order and dropout.
        place: Where and how the networks run.
        temperature: See `mixing`.
        folder: Where states are saved to resume from; None saves none.
        before_save: Called before each state.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        config: FinetuneConfig,
        *,
        seed: int,
        place: Place,
        temperature: float = 1.0,
        folder: Path | None = None,
        before_save: Callable[[], None] = lambda: None,
    ) -> None:
        self.streams = streams
        self.config = config
        self.seed = seed
        self.place = place
        self.temperature = temperature
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_value = -math.inf
        self.step = 0
        self._folder = folder
        self._before_save = before_save
        self._best: dict[str, Tensor] = {}
        self._thresholds: list[float] = []
        self._judgements: list[Judgement] = []  # of the best epoch; empty if it was another process's
        self._totals = torch.zeros(2, device=place.device)  # loss and weight of the running epoch
        features = [encoded.features for stream in streams for encoded in stream.parts.values()]
        self._words = UsedWords([stream.network for stream in streams], features, pad_id=place.pad_id)
        networks = [stream.network.to(place.device) for stream in streams]
        freeze(networks, config.frozen_layers)
        self._optimizer = Optimizer(
            layerwise_groups(networks, config.layerwise_lr_decay, form=config.layerwise_form),
            OptimizerConfig(
                learning_rate=config.learning_rate,
                weight_decay=config.weight_decay,
                max_grad_norm=config.max_grad_norm,
                bias_correction=config.bias_correction,
            ),
        )
        self._lengths = [stream.parts["train"].features.unit_lengths for stream in streams]
        counts = batches_a_task(
            [len(one) for one in self._lengths], batch_size=config.batch_size, temperature=temperature
        )
        self.steps_an_epoch = sum(counts)
        self._schedule = ScheduleConfig(
            kind=config.schedule,
            num_steps=self.steps_an_epoch * config.num_epochs,
            warmup_share=config.warmup_share,
        )
        self._saved = time.monotonic()

    def train(self, progress: Bar) -> None:
        """Train until the epochs are over or nothing gets better; the networks then hold the best epoch's weights."""
        settle()
        self._resume(progress)
        while self.step < self._schedule.num_steps and not self._is_stale():
            epoch, done = divmod(self.step, self.steps_an_epoch)
            plan = plan_epoch(
                self._lengths,
                batch_size=self.config.batch_size,
                temperature=self.temperature,
                seed=self.seed,
                epoch=epoch,
            )
            for which, units in plan[done:]:
                self._take_step(self.streams[which], units)
                text = f"seed {self.seed}, epoch {epoch + 1} of {self.config.num_epochs}"
                progress.advance(1 / self.steps_an_epoch, text=text)
                if self.step % self.steps_an_epoch:
                    self._save_if_due()
            self._end_epoch(epoch)
            self._save_if_due()
        self._load(self._best)
        self._words.restore()
        for stream, threshold in zip(self.streams, self._thresholds, strict=True):
            if isinstance(stream.task, QuestionAnswering):
                stream.task = replace(stream.task, threshold=threshold)

    def judge(self) -> list[dict[str, Judgement]]:
        """Return the judgements of each task on its parts but the training one, after `train`."""
        found = []
        for number, stream in enumerate(self.streams):
            known = {"validation": self._judgements[number]} if self._judgements else {}
            rest = stream.parts.keys() - {"train"} - known.keys()
            found.append(known | {part: measure(stream, part, self.place)[1] for part in sorted(rest)})
        return found

    def _take_step(self, stream: Stream, units: Any) -> None:
        encoded = stream.parts["train"]
        weight = max(stream.task.weight(encoded, units), 1e-12)
        max_units = self.config.micro_batch_size
        for some in split_units(encoded.features, units, max_units=max_units, max_tokens=MAX_TOKENS):
            batch = make_batch(encoded, some, self.place, key=(self.seed, self.step))
            with autocast(self.place.device, self.place.dtype):
                loss = stream.task.loss(stream.network, batch)
            (loss / weight).backward()
            self._totals[0] += loss.detach()
        self._totals[1] += weight
        if len(self.streams) > 1:
            self._touch_other_heads()
        factor = learning_rate_factor(self.step / self._schedule.num_steps, self._schedule)
        self._optimizer.step(factor)
        self.step += 1

    def _touch_other_heads(self) -> None:
        """Give the heads that had nothing to learn a gradient of 0, as in one graph with all tasks.

        Passed over, their optimizer's means and counts would depend on which task came when, which no state holds.
        """
        for parameter in self._tensors().values():
            if parameter.grad is None and parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    def _end_epoch(self, epoch: int) -> None:
        total, weight = self._totals.tolist()
        self._totals.zero_()
        if not math.isfinite(total):
            raise TrainingError(
                f"seed {self.seed}, epoch {epoch + 1}: the loss is not a number. Lower the learning rate."
            )
        record = {"epoch": epoch + 1, "train_loss": total / weight}
        values, thresholds, judgements = [], [], []
        for stream in self.streams:
            task, judgement = measure(stream, "validation", self.place, fits=True)
            scores = judgement.metrics()
            prefix = f"{stream.name}." if len(self.streams) > 1 else ""
            record |= {f"{prefix}{name}": value for name, value in scores.items()}
            values.append(scores[stream.metric])
            thresholds.append(getattr(task, "threshold", 0.0))
            judgements.append(judgement)
        self.history.append(record)
        value = sum(values) / len(values)
        if value > self.best_value or self.best_epoch == 0:
            self.best_epoch, self.best_value, self._thresholds = epoch + 1, value, thresholds
            self._judgements = judgements
            self._best = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}

    def _is_stale(self) -> bool:
        patience = self.config.early_stopping
        return patience is not None and len(self.history) - self.best_epoch >= patience and bool(self.history)

    def _tensors(self) -> dict[str, Tensor]:
        """Return every parameter once; those of the shared body under the first task's name."""
        tensors: dict[str, Tensor] = {}
        seen: set[int] = set()
        for number, stream in enumerate(self.streams):
            for name, parameter in stream.network.named_parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    tensors[f"{number}.{name}"] = parameter
        return tensors

    @torch.no_grad()
    def _load(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self._tensors().items():
            parameter.copy_(tensors[name])

    def _save_if_due(self) -> None:
        if self._folder is None or time.monotonic() - self._saved < self.config.checkpoint_minutes * 60:
            return
        self._before_save()
        live = {name: tensor.detach() for name, tensor in self._tensors().items()}
        best = {_BEST + name: tensor for name, tensor in self._best.items()}
        counters = {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value if self.best_epoch else None,
            "thresholds": self._thresholds,
        }
        networks = live | best | {_TOTALS: self._totals}
        save_state(self._folder, State(self.step, networks, self._optimizer.tensors(), counters), keep_last=1)
        self._saved = time.monotonic()

    def _resume(self, progress: Bar) -> None:
        state = None if self._folder is None else load_newest_state(self._folder)
        if state is None:
            return
        self.step = state.step
        self._load({name: tensor for name, tensor in state.networks.items() if not name.startswith(_BEST)})
        self._best = {
            name.removeprefix(_BEST): tensor.to(self.place.device)
            for name, tensor in state.networks.items()
            if name.startswith(_BEST)
        }
        self._totals.copy_(state.networks[_TOTALS])
        self._optimizer.load(state.optimizer, num_steps=state.step)
        self.history = state.counters["history"]
        self.best_epoch = state.counters["best_epoch"]
        self.best_value = -math.inf if state.counters["best_value"] is None else state.counters["best_value"]
        self._thresholds = state.counters["thresholds"]
        progress.advance(self.step / self.steps_an_epoch)
