"""Which steps are bad: a loss or gradient that is no number, or a spike; and how many are put up with.

The rule for spikes is that of OLMo-core's skip-step optimizer: above the mean of the last 128 good steps by more than
so many of their standard deviations. What is remembered is part of a saved state, so a resumed run decides the same.
"""

import math
import statistics
from typing import Any

from electrify.config import TrainingConfig
from electrify.errors import TrainingError

_REMEMBERED_STEPS = 128
_LIMIT_STEPS = 1_000


class StepGuard:
    """Judges steps.

    Args:
        config: What counts as bad and what is done then.

    Attributes:
        num_bad: Bad steps since the run began.
        num_skipped: Steps since the run began whose update was not made, or was undone.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._history: dict[str, list[float]] = {}
        self._bad_steps: list[int] = []
        self.num_bad = 0
        self.num_skipped = 0

    def judge(self, values: dict[str, float]) -> str | None:
        """Say what is bad about a step; None if it is good, and then it is remembered.

        Args:
            values: Mean losses and gradient norm by name.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                return f"{name} is {value}"
        if self._config.spike_deviations is not None:
            for name, value in values.items():
                if self._is_spike(self._history.get(name, []), value):
                    return f"{name} is {value:.4g}, a spike"
            for name, value in values.items():
                self._history[name] = [*self._history.get(name, []), value][-_REMEMBERED_STEPS:]
        return None

    def count(self, step: int, reason: str) -> None:
        """Count a bad step.

        Args:
            step: Its number, from 1.
            reason: What is bad about it.

        Raises:
            TrainingError: If there were too many lately, or none is put up with.
        """
        self.num_bad += 1
        self._bad_steps = [*(one for one in self._bad_steps if one > step - _LIMIT_STEPS), step]
        advice = (
            'Lower optimizer.learning_rate or set training.precision = "fp32", then continue with --resume from the '
            "last saved state."
        )
        if self._config.on_bad_step == "stop":
            raise TrainingError(f"step {step}: the loss is not a number to train on ({reason}). {advice}")
        if len(self._bad_steps) > self._config.max_bad_steps:
            raise TrainingError(
                f"step {step}: the loss is not a number to train on ({reason}); this is the bad step number "
                f"{len(self._bad_steps)} of the last {_LIMIT_STEPS:,} (training.max_bad_steps). {advice}"
            )

    def add_skipped(self, first: int) -> None:
        """Count the steps from `first` to the bad step that was counted last; what was undone before counts once."""
        before, last = [0, *self._bad_steps][-2:]
        self.num_skipped += last + 1 - max(first, before + 1)

    def to_json(self) -> dict[str, Any]:
        """Return what a saved state keeps."""
        return {
            "history": self._history,
            "bad_steps": self._bad_steps,
            "num_bad": self.num_bad,
            "num_skipped": self.num_skipped,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `to_json` returned."""
        self._history = {name: list(values) for name, values in saved["history"].items()}
        self._bad_steps = list(saved["bad_steps"])
        self.num_bad = saved["num_bad"]
        self.num_skipped = saved["num_skipped"]

    def _is_spike(self, history: list[float], value: float) -> bool:
        if len(history) < _REMEMBERED_STEPS:
            return False
        assert self._config.spike_deviations is not None
        mean = statistics.fmean(history)
        return value > mean + self._config.spike_deviations * statistics.stdev(history)
