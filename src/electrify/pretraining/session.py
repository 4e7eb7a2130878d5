"""The parts of a run put together, and the state that they are in: what is saved, found and continued from."""

import logging
from pathlib import Path

import numpy as np
import torch

from electrify.config import PretrainConfig
from electrify.data.shards import ShardFolder
from electrify.errors import ConfigError
from electrify.models.heads import body_of
from electrify.models.modernbert import ModernBertModel
from electrify.objectives.objective import AnyObjective
from electrify.pretraining.batches import BatchReader
from electrify.pretraining.counters import check_counters
from electrify.pretraining.embeddings import start_embeddings
from electrify.pretraining.extending import factor_of_step
from electrify.pretraining.folder import (
    empty_folder,
    open_run,
    refuse_other_config,
    refuse_other_data,
    run_digest,
)
from electrify.pretraining.guard import StepGuard
from electrify.pretraining.layers import start_layers
from electrify.pretraining.objectives import build_objective
from electrify.pretraining.saving import StateKeeper
from electrify.pretraining.starting import Start, build_started, find_inner, group_parameters, write_start
from electrify.pretraining.step import TrainingStep
from electrify.pretraining.window import Window
from electrify.runs import MetricsLog, finite_or_none
from electrify.training.checkpoints import State, find_newest_state, read_state, state_name
from electrify.training.distributed import World
from electrify.training.loop import Clock
from electrify.training.optimizers import Optimizer
from electrify.training.parallel import Parallel
from electrify.training.precision import choose_device, resolve_precision

_LOG = logging.getLogger(__name__)


class Session:
    """One run in this process.

    Args:
        config: The resolved config.
        shards: What is trained on.
        folder: The run's folder.
        world: The processes that work on it.
        start: Published networks to start from; None builds new ones.
        device: Where it is trained; chosen if not given.

    Raises:
        ConfigError: If sizes do not fit each other, or the data.
    """

    def __init__(
        self,
        config: PretrainConfig,
        shards: ShardFolder,
        folder: Path,
        *,
        world: World,
        start: Start | None = None,
        device: torch.device | None = None,
    ) -> None:
        if shards.max_length > config.model.max_positions:
            raise ConfigError(
                f"model.max_positions = {config.model.max_positions}, but the rows of {shards.path} have up to "
                f"{shards.max_length} tokens. Raise it, or prepare with a smaller --max-length."
            )
        self.config = config
        self.shards = shards
        self.folder = folder
        self.world = world
        self.start = start
        self.device = device or choose_device()
        self.dtype = resolve_precision(config.training.precision, self.device)
        objective: AnyObjective
        if start is None:
            objective = build_objective(config, shards.tokenizer())
        else:
            objective, self.start = build_started(start, shards.tokenizer())
        self.objective = objective.to(self.device)
        self.batches = BatchReader(config, shards, self.objective, device=self.device, world=world)
        self.window = Window()
        self.guard = StepGuard(config.training)
        self.clock = Clock(config.schedule)
        self.factor = 0.0
        self.tokens_before = 0
        self.validation: dict[str, float] = {}
        self.warning: str | None = None

    def build_optimizer(self) -> Optimizer:
        """Return a new optimizer of the objective's parameters.

        Raises:
            ConfigError: If its settings do not fit each other.
        """
        groups = group_parameters(self.objective, self.start)
        return Optimizer(groups, self.config.optimizer, inner=find_inner(self.objective))

    def begin(self, *, anew: bool = False) -> None:
        """Share the weights among the processes, open the folder, and continue from the newest state in it, if any.

        Args:
            anew: Whether what is in the folder is removed, once nothing is left that could refuse the settings.

        Raises:
            ConfigError: If settings do not fit each other, or the folder is of a run with others or on other data.
            CheckpointError: If all its states are damaged.
        """
        if not anew:
            self.world.first_does(lambda: refuse_other_config(self.folder, self.config), self.device)
        state = None if anew else self.find_state()
        if state is None and self.config.schedule.start_step:
            raise ConfigError("schedule.start_step is for runs that are extended; leave it out, or use --extend.")
        if state is None and self.start is None:
            start_embeddings(self.objective.trained(), self.shards, self.config.model)
            start_layers(self.objective.trained(), self.config.model)
        bodies = [body_of(network) for network in self.objective.trained()]
        blocks = [block for body in bodies for block in body.blocks]
        if self.config.training.compile:
            for block in dict.fromkeys(blocks):
                block.compile()
        # A layer of ModernBERT reads the next one's norm, so its layers are gathered together.
        apart = [block for body in bodies if not isinstance(body, ModernBertModel) for block in body.blocks]
        self.parallel = Parallel(self.objective, apart, world=self.world, kind=self.config.training.parallel)
        kind = self.config.optimizer.kind
        if self.parallel.kind == "fsdp" and kind in ("lion", "lamb", "schedule-free"):
            raise ConfigError(f'optimizer.kind = "{kind}" needs whole tensors; set training.parallel = "ddp".')
        if self.parallel.kind == "fsdp" and self.config.model.layers_alike:
            raise ConfigError('model.layers_alike needs whole tensors; set training.parallel = "ddp".')
        if self.parallel.kind == "fsdp" and self.config.masking.adaptive:
            raise ConfigError('masking.adaptive needs whole tensors; set training.parallel = "ddp".')
        self.optimizer = self.build_optimizer()
        self.step = TrainingStep(
            self.objective, self.optimizer, self.batches, parallel=self.parallel, world=self.world, dtype=self.dtype
        )
        self.keeper = StateKeeper(
            self.folder,
            self.objective,
            self.optimizer,
            config=self.config.checkpoint,
            world=self.world,
            is_sharded=self.parallel.kind == "fsdp",
        )
        if anew:
            self.world.highest([0], self.device)  # all processes have come this far
            self.world.first_does(lambda: empty_folder(self.folder), self.device)
        self.world.first_does(self._open_folder, self.device)
        if state is not None:
            self._continue_from(state)

    def save(self, metrics: MetricsLog | None, *, place: str = "state") -> None:
        """Save the run as it is now.

        Args:
            metrics: Written out first, on the first process.
            place: Name of the folder for the state.
        """
        counters = {
            "run": run_digest(self.config),
            "data_digest": self.shards.digest,
            "seconds": self.clock.seconds,
            "factor": self.factor,
            "window": self.window.to_json(),
            "guard": self.guard.to_json(),
            "validation": finite_or_none(self.validation),
            "warning": self.warning,
        }
        self.keeper.save(self.clock.step, counters, before=metrics.flush if metrics else None, place=place)

    def find_state(self, *, every: int = 1) -> State | None:
        """Return the newest good state, the same on all processes; the first one alone checks it.

        Args:
            every: States of other steps than multiples of it, which a signal left, are passed over.
        """
        folder = self.folder / "state"
        found: list[Path | None] = []
        digest = run_digest(self.config)
        self.world.first_does(lambda: found.append(find_newest_state(folder, run=digest, every=every)), self.device)
        step = int(found[0].name.removeprefix("step-")) if found and found[0] else -1
        step = int(self.world.of_first(step, self.device))
        return None if step < 0 else read_state(folder / state_name(step))

    def _open_folder(self) -> None:
        open_run(
            self.folder,
            self.config,
            self.shards,
            device=self.device,
            dtype=self.dtype,
            world=self.world,
            parallel=self.parallel.kind,
        )
        if self.start is not None:
            write_start(self.start, self.folder)

    def _continue_from(self, state: State) -> None:
        counters = state.counters
        check_counters(counters, self.folder / "state" / state_name(state.step))
        refuse_other_data(self.folder, self.shards, counters["data_digest"])
        self.keeper.put_back(state)
        self.guard.load(counters["guard"])
        self.clock.step = state.step
        self.clock.seconds_before = counters["seconds"]
        self.window.load(counters["window"], device=self.device)
        self.tokens_before = self.window.tokens_seen
        self.validation = {key: np.nan if value is None else value for key, value in counters["validation"].items()}
        self.warning = counters["warning"]
        factor = counters.get("factor")
        self.factor = factor_of_step(self.config.schedule, state.step - 1) if factor is None else factor
        if self.world.is_first:
            _LOG.info("Continuing from step %d.", state.step)

    def tokens_per_s(self) -> float:
        """Return the tokens a second since this process began to train."""
        here = self.clock.seconds - self.clock.seconds_before
        return (self.window.tokens_seen - self.tokens_before) / here if here else 0.0
