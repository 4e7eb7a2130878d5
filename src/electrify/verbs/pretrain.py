"""Pre-training: a recipe and a shard folder in, published networks out.

Read `Pretraining.run` first; the parts it is made of are in `electrify.pretraining`. A killed run that is continued
with `resume` equals, bit for bit, one that was not.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from electrify import recipes
from electrify.config import PretrainConfig
from electrify.data.shards import ShardFolder, open_shards
from electrify.errors import ConfigError, TrainingError
from electrify.files import refuse_existing, write_json
from electrify.pretraining.batches import BatchReader
from electrify.pretraining.evaluation import count_tokens, evaluate
from electrify.pretraining.extending import STABLE_FOLDER, extend_run, factor_of_step, leaves_stable_phase
from electrify.pretraining.folder import open_run, refuse_other_data
from electrify.pretraining.neighbours import start_from_neighbours
from electrify.pretraining.objectives import build_objective
from electrify.pretraining.saving import from_state, to_state
from electrify.pretraining.starting import (
    START_FILE,
    Start,
    build_started,
    group_parameters,
    open_start,
    reopen_start,
    write_start,
)
from electrify.pretraining.step import TrainingStep
from electrify.pretraining.window import Window
from electrify.progress import bar, format_seconds
from electrify.runs import MetricsLog, finite_or_none
from electrify.training.checkpoints import State, list_states, load_newest_state, save_state
from electrify.training.loop import Clock, Every, run
from electrify.training.optimizers import Adam
from electrify.training.precision import choose_device, resolve_precision
from electrify.verbs.publish import publish_networks

_LOG = logging.getLogger(__name__)
_TROUBLE_AFTER = 0.25  # share of a run after which it should have learned something


@dataclass(frozen=True, slots=True)
class PretrainReport:
    """What a run came to."""

    output: str
    steps: int
    tokens: int
    """Real tokens trained on, special ones included."""
    seconds: float
    tokens_per_s: float
    validation: dict[str, float]
    """Held-out figures at the end; empty without a validation part."""
    warning: str | None
    """What is wrong with the run, if anything."""


def pretrain(
    recipe: str | Path,
    *,
    output: str | Path,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    extend: int | None = None,
    verify: bool = False,
    overwrite: bool = False,
) -> PretrainReport:
    """Train the networks of an objective.

    Args:
        recipe: Name of a shipped recipe or path of a TOML file.
        output: The run's folder.
        overrides: Nested values that replace the recipe's; {"data": {"path": …}} at least.
        resume: Continue the run in `output` from its newest state, or start it if there is none.
        extend: Continue the finished run in `output` for so many more steps; `recipe` is then its config.toml.
        verify: Compare the digest of every shard before training; sizes are always compared.
        overwrite: Replace what is in `output`.

    Raises:
        ConfigError: If a setting is wrong, or differs from those of the run that is continued, or a run to extend is
            not finished.
        DataError: If the shard folder can not be used.
        CheckpointError: If all saved states are damaged.
        TrainingError: If the loss stops being a number.
    """
    config = recipes.load_recipe(recipe, overrides)
    if config.data.path is None:
        raise ConfigError("data.path is not set. Give --data.path SHARDS, a folder made by `electrify prepare`.")
    folder = Path(output)
    resume = resume or extend is not None
    if not resume:
        refuse_existing(folder, overwrite=overwrite)
    shards = open_shards(config.data.path, verify=verify)
    start = None
    if config.init_from is not None:
        explicit = recipes.explicit_settings(recipe, overrides).get("model", {})
        start = _open_start(config, shards, folder, explicit=explicit, resume=resume)
        config = start.config
    if extend is not None:
        config = extend_run(folder, config, num_steps=extend)
    training = Pretraining(config, shards, folder, start=start)
    if not resume and folder.exists():  # only now, when nothing is wrong with what replaces it
        shutil.rmtree(folder)
    return training.run()


def _open_start(
    config: PretrainConfig, shards: ShardFolder, folder: Path, *, explicit: Mapping[str, Any], resume: bool
) -> Start:
    if resume and (folder / START_FILE).is_file() and list_states(folder / "state"):
        return reopen_start(config, recipes.load_recipe(folder / "config.toml"), folder, explicit=explicit)
    return open_start(config, shards.tokenizer(), explicit=explicit)


class Pretraining:
    """One run, from its first or its last saved step to its end.

    Args:
        config: The resolved config.
        shards: What is trained on.
        folder: The run's folder; a state in it is continued from.
        start: Published networks to start from; None builds new ones.
    """

    def __init__(
        self, config: PretrainConfig, shards: ShardFolder, folder: Path, *, start: Start | None = None
    ) -> None:
        if shards.max_length > config.model.max_positions:
            raise ConfigError(
                f"model.max_positions = {config.model.max_positions}, but the rows of {shards.path} have up to "
                f"{shards.max_length} tokens. Raise it, or prepare with a smaller --max-length."
            )
        self.config = config
        self.shards = shards
        self.folder = folder
        self.device = choose_device()
        self.dtype = resolve_precision(config.training.precision, self.device)
        self.start = start
        if start is None:
            self.objective = build_objective(config, shards.tokenizer()).to(self.device)
        else:
            objective, self.start = build_started(start, shards.tokenizer())
            self.objective = objective.to(self.device)
        self.optimizer = Adam(group_parameters(self.objective, self.start), config.optimizer)
        self.batches = BatchReader(config, shards, self.objective, device=self.device)
        self.step = TrainingStep(self.objective, self.optimizer, self.batches, dtype=self.dtype)
        self.window = Window()
        self.clock = Clock(config.schedule)
        self.tokens_before = 0
        self.factor = 0.0
        self.validation: dict[str, float] = {}
        self.warning: str | None = None

    def run(self) -> PretrainReport:
        """Train to the end of the schedule and publish the networks."""
        config = self.config
        open_run(self.folder, config, self.shards, device=self.device, dtype=self.dtype)
        if self.start is not None:
            write_start(self.start, self.folder)
        self._continue_from_saved_state()
        with (
            MetricsLog(
                self.folder, after_step=self.clock.step, use_tensorboard=config.logging.tensorboard
            ) as self.metrics,
            bar("Pre-training", total=1.0) as self.bar,
        ):
            self.bar.advance(self.clock.progress)
            run(
                self.clock,
                self._take_step,
                [
                    Every(config.logging.every_steps, self._log),
                    Every(config.evaluation.every_steps, self._evaluate),
                    Every(config.checkpoint.every_steps, self._save),
                ],
            )
        report = self._report()
        publish_networks(self.objective, config, report, self.shards, self.folder)
        write_json(self.folder / "results.json", finite_or_none(asdict(report)))
        return report

    def _continue_from_saved_state(self) -> None:
        state = load_newest_state(self.folder / "state")
        if state is None:
            if self.config.model.embedding_init == "cooccurrence" and self.start is None:
                start_from_neighbours(list(self.objective.networks().values()), self.shards)
            return
        counters = state.counters
        refuse_other_data(self.folder, self.shards, counters["data_digest"])
        from_state(state, self.objective, self.optimizer)
        self.clock.step = state.step
        self.clock.seconds_before = counters["seconds"]
        self.window.load(counters["window"], device=self.device)
        self.tokens_before = self.window.tokens_seen
        self.validation = {key: np.nan if value is None else value for key, value in counters["validation"].items()}
        self.warning = counters["warning"]
        self.factor = factor_of_step(self.config.schedule, state.step - 1)
        _LOG.info("Continuing from step %d.", state.step)

    def _take_step(self, factor: float) -> None:
        if leaves_stable_phase(self.config.schedule, self.factor, factor):
            save_state(self.folder / STABLE_FOLDER, self._state(), keep_last=1)
        self.factor = factor
        next_step = self.clock.step + 1
        is_logged = next_step % self.config.logging.every_steps == 0 or next_step == self.config.schedule.num_steps
        schedule = self.config.schedule
        self.optimizer.is_waiting = schedule.start_step == 0 and self.clock.progress < schedule.warmup_share
        self.window.add(self.step.take(self.clock.step, factor, with_figures=is_logged))

    def _losses(self) -> dict[str, float]:
        assert self.window.last is not None
        losses, norm = self.window.losses(), float(self.window.last.grad_norm)
        if not np.isfinite(sum(losses.values()) + norm):
            values = ", ".join(f"{name} {value}" for name, value in losses.items())
            raise TrainingError(
                f"step {self.clock.step}: the loss is not a number ({values}, grad_norm {norm}). Lower "
                'optimizer.learning_rate or set training.precision = "fp32", then continue with --resume from the '
                "last saved state."
            )
        return losses

    def _log(self) -> None:
        losses, last = self._losses(), self.window.last
        assert last is not None
        self.metrics.write(
            {
                "step": self.clock.step,
                "kind": "train",
                "epoch": self.batches.epoch_of(self.clock.step),
                "tokens": self.window.tokens_seen,
                **losses,
                **(self.objective.diagnose(last.figures) if last.figures else {}),
                "grad_norm": float(last.grad_norm),
                "learning_rate": self.config.optimizer.learning_rate * self.factor,
                "timing": {
                    "seconds": round(self.clock.seconds, 3),
                    "tokens_per_s": round(self._tokens_per_s(), 1),
                    "seconds_left": round(self.clock.seconds_left, 1),
                },
            }
        )
        self.window.clear()
        self.bar.advance(
            self.clock.progress - self.bar.done,
            seconds_left=self.clock.seconds_left,
            text=f"step {self.clock.step}  {self._tokens_per_s():,.0f} tokens/s  "
            + "  ".join(f"{name} {value:.4f}" for name, value in losses.items()),
        )

    def _evaluate(self) -> None:
        found = evaluate(self.objective, self.batches, dtype=self.dtype)
        if not found:
            return
        self.validation = found
        self.metrics.write({"step": self.clock.step, "kind": "validation", **found})
        if self.clock.progress >= _TROUBLE_AFTER:
            trouble = self.objective.find_trouble(found, count_tokens(self.shards))
            if trouble and trouble != self.warning:
                _LOG.warning("Step %d: %s", self.clock.step, trouble)
            self.warning = trouble

    def _save(self) -> None:
        self._losses()  # a state that is not a number is never saved
        save_state(self.folder / "state", self._state(), keep_last=self.config.checkpoint.keep_last)

    def _state(self) -> State:
        counters = {
            "seconds": self.clock.seconds,
            "window": self.window.to_json(),
            "validation": finite_or_none(self.validation),
            "warning": self.warning,
            "data_digest": self.shards.digest,
        }
        return to_state(self.clock.step, self.objective, self.optimizer, counters)

    def _tokens_per_s(self) -> float:
        here = self.clock.seconds - self.clock.seconds_before
        return (self.window.tokens_seen - self.tokens_before) / here if here else 0.0

    def _report(self) -> PretrainReport:
        seconds = self.clock.seconds
        _LOG.info("Trained %d steps in %s.", self.clock.step, format_seconds(seconds))
        return PretrainReport(
            output=str(self.folder),
            steps=self.clock.step,
            tokens=self.window.tokens_seen,
            seconds=seconds,
            tokens_per_s=self.window.tokens_seen / seconds if seconds else 0.0,
            validation=self.validation,
            warning=self.warning,
        )
