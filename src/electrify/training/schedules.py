"""Learning rates as functions of how much of a run is done.

Progress is a share in [0, 1], of steps or of a time budget, so one function serves both. Sources: linear after a
warm-up is Devlin et al. 2019 (BERT) as described; `linear_times_warmup` is what the ELECTRA and BERT code does: the
line falls from the first step and the warm-up multiplies it, so the highest factor is 1 − warmup_share;
warm-up–stable–decay is Hu et al. 2024 (MiniCPM), section 4.
"""

import math
from collections.abc import Callable

from electrify.config import ScheduleConfig


def _warmup(progress: float, warmup_share: float) -> float:
    return min(1.0, progress / warmup_share) if warmup_share else 1.0


def _rest(progress: float, config: ScheduleConfig) -> float:
    """Return how much of the part after the warm-up is done, in [0, 1]."""
    if config.warmup_share >= 1:
        return 0.0
    return max(0.0, (progress - config.warmup_share) / (1 - config.warmup_share))


def linear(progress: float, config: ScheduleConfig) -> float:
    """Rise to 1 over the warm-up, then fall on a line to 0."""
    return _warmup(progress, config.warmup_share) * (1 - _rest(progress, config))


def linear_times_warmup(progress: float, config: ScheduleConfig) -> float:
    """Fall on a line from the first step, multiplied by the warm-up."""
    return _warmup(progress, config.warmup_share) * (1 - progress)


def cosine(progress: float, config: ScheduleConfig) -> float:
    """Rise to 1 over the warm-up, then fall on half a cosine to 0."""
    return _warmup(progress, config.warmup_share) * 0.5 * (1 + math.cos(math.pi * _rest(progress, config)))


def warmup_stable_decay(progress: float, config: ScheduleConfig) -> float:
    """Rise to 1, stay there, and fall on a line to 0 over the last `decay_share` of the run."""
    return _warmup(progress, config.warmup_share) * min(1.0, (1 - progress) / config.decay_share)


def constant(progress: float, config: ScheduleConfig) -> float:
    """Rise to 1 over the warm-up, and stay there."""
    return _warmup(progress, config.warmup_share)


SCHEDULES: dict[str, Callable[[float, ScheduleConfig], float]] = {
    "linear": linear,
    "linear_times_warmup": linear_times_warmup,
    "cosine": cosine,
    "warmup_stable_decay": warmup_stable_decay,
    "constant": constant,
}


def learning_rate_factor(progress: float, config: ScheduleConfig) -> float:
    """Return the factor on the peak learning rate, in [0, 1].

    Args:
        progress: Share of the run that is done; values outside [0, 1] count as the nearest end.
        config: Shape and shares.
    """
    return SCHEDULES[config.kind](min(1.0, max(0.0, progress)), config)
