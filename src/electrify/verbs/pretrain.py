"""Pre-training: a recipe and a shard folder in, published networks out.

Read `Pretraining.run` first; the parts it is made of are in `electrify.pretraining`. A killed run that is continued
with `resume` equals, bit for bit, one that was not. Under `torchrun` several processes work on one run; the first one
writes and talks.
"""

import logging
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electrify import kernels, recipes
from electrify.config import PretrainConfig
from electrify.data.shards import ShardFolder, open_shards
from electrify.errors import ConfigError, RunStopped
from electrify.files import refuse_existing, write_json
from electrify.memory import peak_bytes
from electrify.pretraining.evaluation import count_tokens, evaluate
from electrify.pretraining.extending import STABLE_FOLDER, extend_run, leaves_stable_phase
from electrify.pretraining.session import Session
from electrify.pretraining.starting import START_FILE, Start, open_start, reopen_start
from electrify.progress import bar, format_seconds
from electrify.runs import MetricsLog, finite_or_none, read_metrics
from electrify.training.checkpoints import list_states
from electrify.training.distributed import join_world
from electrify.training.lock import RunLock
from electrify.training.loop import Every, run
from electrify.training.precision import choose_device
from electrify.training.signals import listen
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
    peak_bytes: int
    """Most memory in use beyond what the process had before: of a new one, beyond its libraries. Not a GPU's."""
    validation: dict[str, float]
    """Held-out figures at the end; empty without a validation part."""
    warning: str | None
    """What is wrong with the run, if anything."""
    networks: tuple[str, ...]
    """Published folders within the run's; the first is the one to fine-tune."""


def pretrain(
    recipe: str | Path,
    *,
    output: str | Path,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    extend: int | None = None,
    verify: bool = True,
    overwrite: bool = False,
) -> PretrainReport:
    """Train the networks of an objective.

    Args:
        recipe: Name of a shipped recipe or path of a TOML file.
        output: The run's folder.
        overrides: Nested values that replace the recipe's; {"data": {"path": …}} at least.
        resume: Continue the run in `output` from its newest state, or start it if there is none.
        extend: Continue the finished run in `output` for so many more steps; `recipe` is then its config.toml.
        verify: Compare the digest of every shard before training; without it only sizes are compared.
        overwrite: Replace what is in `output`.

    Raises:
        ConfigError: If a setting is wrong, or differs from those of the run that is continued, or a run to extend is
            not finished.
        DataError: If the shard folder can not be used.
        CheckpointError: If all saved states are damaged.
        TrainingError: If too many losses or gradients are not numbers, or another process of the run has gone.
        RunStopped: If SIGTERM or SIGINT asked for an end; the run is saved and can be resumed.
    """
    memory_before = peak_bytes()
    config = recipes.load_recipe(recipe, overrides)
    if config.data.path is None:
        raise ConfigError("data.path is not set. Give --data.path SHARDS, a folder made by `electrify prepare`.")
    path, folder = config.data.path, Path(output)
    with join_world(timeout_minutes=config.training.timeout_minutes) as world, ExitStack() as stack:
        is_restart = world.num_restarts > 0  # by torchrun, after a process died
        resume = resume or extend is not None or is_restart
        device = choose_device()
        if not resume:
            world.first_does(lambda: refuse_existing(folder, overwrite=overwrite, is_filled_in_place=True), device)
        lock = RunLock(folder, takes_over=is_restart)
        world.first_does(lambda: stack.enter_context(lock), device)
        world.first_does(lambda: open_shards(path, verify=verify), device)
        shards = open_shards(path)
        start = None
        if config.init_from is not None:
            explicit = recipes.explicit_settings(recipe, overrides).get("model", {})
            start = _open_start(config, shards, folder, explicit=explicit, resume=resume)
            config = start.config
        if extend is not None:
            if not is_restart:
                world.first_does(lambda: extend_run(folder, config, num_steps=extend), device)
            schedule = recipes.load_recipe(folder / "config.toml").schedule
            config = config.model_copy(update={"schedule": schedule})
        session = Session(config, shards, folder, world=world, start=start)
        return Pretraining(session, lock, memory_before=memory_before).run(anew=not resume)


def _open_start(
    config: PretrainConfig, shards: ShardFolder, folder: Path, *, explicit: Mapping[str, Any], resume: bool
) -> Start:
    if resume and (folder / START_FILE).is_file() and list_states(folder / "state"):
        return reopen_start(config, recipes.load_recipe(folder / "config.toml"), folder, explicit=explicit)
    return open_start(config, shards.tokenizer(), explicit=explicit)


class Pretraining:
    """A run from its first or its last saved step to its end.

    Args:
        session: The parts of the run.
        lock: On its folder, held by the first process.
        memory_before: Most bytes that this process had in use before.
    """

    def __init__(self, session: Session, lock: RunLock, *, memory_before: int) -> None:
        self.session = session
        self.lock = lock
        self.memory_before = memory_before
        self.metrics: MetricsLog | None = None
        self.signal_number = 0
        self.progress = 0.0  # the same on all processes, which the clock's is not where minutes count

    def run(self, *, anew: bool) -> PretrainReport:
        """Train to the end of the schedule and publish the networks.

        Args:
            anew: As for `Session.begin`.
        """
        session, config = self.session, self.session.config
        session.begin(anew=anew)
        with ExitStack() as stack:
            if config.training.kernels == "plain":
                stack.enter_context(kernels.disabled())
            if session.world.is_first:
                use_tensorboard = config.logging.tensorboard
                log = MetricsLog(session.folder, after_step=session.clock.step, use_tensorboard=use_tensorboard)
                self.metrics = stack.enter_context(log)
            if session.clock.step == 0 and config.training.on_bad_step == "rollback":
                session.save(self.metrics)  # there is always a state to go back to
            self.bar = stack.enter_context(bar("Pre-training", total=1.0))
            self.stop = stack.enter_context(listen())
            self.bar.advance(session.clock.progress)
            run(
                session.clock,
                self._take_step,
                [
                    Every(config.logging.every_steps, self._log),
                    Every(config.evaluation.every_steps, self._evaluate),
                    Every(config.checkpoint.every_steps, lambda: session.save(self.metrics)),
                ],
                agree=self._agree,
                stop=self._end_early,
            )
            session.keeper.complete()
        return self._publish()

    def _agree(self, progress: float) -> float:
        self.progress = self.session.world.of_first(progress, self.session.device)
        self.session.objective.set_progress(self.progress)
        return self.progress

    def _take_step(self, factor: float) -> None:
        session, schedule = self.session, self.session.config.schedule
        if leaves_stable_phase(schedule, session.factor, factor):
            session.save(self.metrics, place=STABLE_FOLDER)
        session.factor = factor
        number = session.clock.step + 1
        is_logged = number % session.config.logging.every_steps == 0 or number == schedule.num_steps
        result = session.step.compute(session.clock.step, with_figures=is_logged)
        reason = session.guard.judge(result.values())
        is_bad, self.signal_number, is_writing = session.world.highest(
            [int(reason is not None), self.stop.signal_number, int(session.keeper.is_writing)], session.device
        )
        session.window.add(result, is_good=not is_bad)
        session.optimizer.is_waiting = schedule.start_step == 0 and self.progress < schedule.warmup_share
        if is_bad:
            session.step.drop()
            self._handle_bad_step(number, reason or "it is bad on another process")
        else:
            session.step.apply(factor)
        if not is_writing:
            session.keeper.complete()
        session.world.beat(number)
        if session.world.is_first:
            self.lock.touch()

    def _handle_bad_step(self, number: int, reason: str) -> None:
        session = self.session
        session.guard.count(number, reason)
        first_skipped, done = number, "its update is left out"
        if session.config.training.on_bad_step == "rollback":
            session.keeper.complete()
            state = session.find_state()
            assert state is not None
            session.keeper.put_back(state)
            first_skipped = state.step + 1
            done = f"back to the weights of step {state.step}, on with the rows of step {number + 1}"
        session.guard.num_skipped += number + 1 - first_skipped
        if self.metrics is not None:
            self.metrics.write({"step": number, "kind": "bad_step", "reason": reason, "first_skipped": first_skipped})
            _LOG.warning("Step %d: %s; %s.", number, reason, done)

    def _end_early(self) -> bool:
        if not self.signal_number:
            return False
        session, step = self.session, self.session.clock.step
        session.keeper.complete()
        if session.keeper.saved_step != step:
            session.save(self.metrics)
            session.keeper.complete()
        name = signal.Signals(self.signal_number).name
        saved = "which is saved" if session.keeper.saved_step == step else "which could not be saved"
        raise RunStopped(f"stopped by {name} after step {step}, {saved}. Continue with --resume.", self.signal_number)

    def _log(self) -> None:
        session = self.session
        losses, last = session.window.losses(), session.window.last
        session.window.clear()
        if self.metrics is None:
            return
        clock, speed = session.clock, session.tokens_per_s()
        self.metrics.write(
            {
                "step": clock.step,
                "kind": "train",
                "epoch": session.batches.epoch_of(clock.step),
                "tokens": session.window.tokens_seen,
                **losses,
                **(session.objective.diagnose(last.figures) if last and last.figures else {}),
                **({"grad_norm": float(last.grad_norm)} if last else {}),
                "learning_rate": session.config.optimizer.learning_rate * session.factor,
                "bad_steps": session.guard.num_bad,
                "skipped_steps": session.guard.num_skipped,
                "timing": {
                    "seconds": round(clock.seconds, 3),
                    "tokens_per_s": round(speed, 1),
                    "seconds_left": round(clock.seconds_left, 1),
                    "peak_bytes": self._peak_bytes(),
                },
            }
        )
        values = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        self.bar.advance(
            clock.progress - self.bar.done,
            seconds_left=clock.seconds_left,
            text=f"step {clock.step}  {speed:,.0f} tokens/s  {values}",
        )

    def _evaluate(self) -> None:
        session = self.session
        with session.optimizer.averaged():
            found = evaluate(
                session.objective, session.parallel, session.batches, world=session.world, dtype=session.dtype
            )
        if not found:
            return
        session.validation = found
        if self.metrics is not None:
            self.metrics.write({"step": session.clock.step, "kind": "validation", **found})
        if self.progress >= _TROUBLE_AFTER:
            trouble = session.objective.find_trouble(found, count_tokens(session.shards))
            if trouble and trouble != session.warning and session.world.is_first:
                _LOG.warning("Step %d: %s", session.clock.step, trouble)
            session.warning = trouble

    def _peak_bytes(self) -> int:
        return peak_bytes() - self.memory_before

    def _logged_peaks(self) -> list[int]:
        """Return what earlier processes of a run that was resumed have seen too."""
        records = read_metrics(self.session.folder)
        return [0, *(int(record.get("timing", {}).get("peak_bytes", 0)) for record in records)]

    def _publish(self) -> PretrainReport:
        session, seconds = self.session, self.session.clock.seconds
        report = PretrainReport(
            output=str(session.folder),
            steps=session.clock.step,
            tokens=session.window.tokens_seen,
            seconds=seconds,
            tokens_per_s=session.window.tokens_seen / seconds if seconds else 0.0,
            peak_bytes=max(self._peak_bytes(), *self._logged_peaks()),
            validation=session.validation,
            warning=session.warning,
            networks=tuple(session.objective.networks()),
        )

        def write() -> None:
            _LOG.info("Trained %d steps in %s.", report.steps, format_seconds(seconds))
            publish_networks(objective, session.config, report, session.shards, session.folder)
            write_json(session.folder / "results.json", finite_or_none(asdict(report)))

        with session.optimizer.averaged():
            objective = session.parallel.whole_module()
            session.world.first_does(write, session.device)
        return report
