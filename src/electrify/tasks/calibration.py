"""Whether probabilities mean what they say: of the answers given with 80 %, four in five should be right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from electrify.tasks.choice import MultipleChoice
from electrify.tasks.classification import Classification
from electrify.tasks.ranking import Ranking
from electrify.tasks.task import Task

_NUM_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers given with about the same confidence."""

    confidence: float
    """Their mean confidence, in [0, 1]."""
    accuracy: float
    """Share of them that is right."""
    count: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far confidence and accuracy lie apart."""

    error: float
    """Expected calibration error: mean distance over ten bins of equal width, by count (Guo et al. 2017)."""
    bins: list[Bin]
    """Bins that are not empty, from unsure to sure."""


def calibrate(task: Task, examples: Sequence[Any], predictions: Sequence[Any]) -> Calibration | None:
    """Compare confidence with accuracy; None for kinds of task that have no probability of one answer."""
    if isinstance(task, Classification | Ranking):
        confidence = np.array([one.probabilities[one.label] for one in predictions])
        right = np.array([a.label == b.label for a, b in zip(examples, predictions, strict=True)])
    elif isinstance(task, MultipleChoice):
        confidence = np.array([one.probabilities[one.choice] for one in predictions])
        right = np.array([a.label == b.choice for a, b in zip(examples, predictions, strict=True)])
    else:
        return None
    return bin_by_confidence(confidence, right)


def bin_by_confidence(confidence: np.ndarray, right: np.ndarray) -> Calibration:
    """Return the calibration of answers.

    Args:
        confidence: (N,) in [0, 1].
        right: Whether each is right, (N,) bool.
    """
    number = np.minimum((confidence * _NUM_BINS).astype(int), _NUM_BINS - 1)
    bins = [
        Bin(float(confidence[number == one].mean()), float(right[number == one].mean()), int((number == one).sum()))
        for one in range(_NUM_BINS)
        if (number == one).any()
    ]
    error = sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / max(1, len(confidence))
    return Calibration(error, bins)
