"""The loop: steps until the run is over, and what happens every so many of them.

Progress is the share of steps done or, with a time budget, of the minutes used, whichever is greater.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from electrify.config import ScheduleConfig
from electrify.training.process import settle
from electrify.training.schedules import learning_rate_factor


@dataclass
class Clock:
    """Where a run is."""

    schedule: ScheduleConfig
    step: int = 0
    """Optimizer steps taken."""
    seconds_before: float = 0.0
    """Seconds of training before this process."""
    _started: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Count seconds from now on, so that what came before the first step does not count."""
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds of training, over all processes that worked on the run."""
        return self.seconds_before + time.monotonic() - self._started

    @property
    def progress(self) -> float:
        """Return the share of the run that is done, in [0, 1]."""
        begin, end = self.schedule.start_step, self.schedule.num_steps
        share = (self.step - begin) / max(1, end - begin)
        if self.schedule.budget_minutes is not None:
            share = max(share, self.seconds / 60 / self.schedule.budget_minutes)
        return min(1.0, share)

    @property
    def seconds_left(self) -> float:
        """Return the seconds that the rest takes at the speed so far; 0 at the end."""
        if self.schedule.budget_minutes is None:
            return self.seconds * (self.schedule.num_steps - self.step) / self.step if self.step else 0.0
        progress = self.progress
        return self.seconds * (1 - progress) / progress if progress else 0.0


@dataclass(frozen=True, slots=True)
class Every:
    """Something done after every `steps` steps and, once, at the end."""

    steps: int
    action: Callable[[], None]


def run(
    clock: Clock,
    take_step: Callable[[float], None],
    actions: Sequence[Every],
    *,
    agree: Callable[[float], float] = lambda progress: progress,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train until the schedule is over; the clock starts here.

    Args:
        clock: Where to start; moved on.
        take_step: Takes one optimizer step, given the factor on the learning rate.
        actions: Done in their order after a step that is due.
        agree: Makes the progress the same on all processes.
        stop: Asked after each step and its actions, but for the last; whether to end early.
    """
    settle()
    clock.start()
    progress = agree(clock.progress)
    while progress < 1:
        take_step(learning_rate_factor(progress, clock.schedule))
        clock.step += 1
        progress = agree(clock.progress)
        for every in actions:
            if progress >= 1 or clock.step % every.steps == 0:
                every.action()
        if progress < 1 and stop():
            return
