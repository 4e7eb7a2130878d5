"""A pre-training run from its first or its last saved step to its end; `Pretraining.run` is the place to begin.

After every step the processes agree on how far the run is and whether it has to end; the first one writes and talks.
"""

import logging
import signal
from contextlib import ExitStack

from electrify import kernels
from electrify.errors import RunStopped, TrainingError
from electrify.memory import peak_bytes
from electrify.pretraining.evaluation import count_tokens, evaluate
from electrify.pretraining.extending import STABLE_FOLDER, leaves_stable_phase
from electrify.pretraining.session import Session
from electrify.progress import bar
from electrify.runs import MetricsLog, read_metrics
from electrify.training.lock import RunLock
from electrify.training.loop import Every, run
from electrify.training.signals import listen

_LOG = logging.getLogger(__name__)
_TROUBLE_AFTER = 0.25  # share of a run after which it should have learned something


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

    def run(self, *, anew: bool) -> None:
        """Train to the end of the schedule.

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
            state = session.find_state(every=session.config.checkpoint.every_steps)
            if state is None:
                raise TrainingError(
                    f'step {number}: {reason}, and training.on_bad_step = "rollback" finds no state to go back to, as '
                    "none could be saved. See what was said about saving."
                )
            session.keeper.put_back(state)
            first_skipped = state.step + 1
            done = f"back to the weights of step {state.step}, on with the rows of step {number + 1}"
        session.guard.add_skipped(first_skipped)
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
        losses, last, grad_norm = session.window.losses(), session.window.last, session.window.grad_norm
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
                **({} if grad_norm is None else {"grad_norm": float(grad_norm)}),
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

    def highest_peak(self) -> int:
        """Return the most bytes in use in this process and the earlier ones of a run that was resumed."""
        records = read_metrics(self.session.folder)
        return max(self._peak_bytes(), *(int(record.get("timing", {}).get("peak_bytes", 0)) for record in records), 0)
