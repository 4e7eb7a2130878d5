"""How well scores separate two classes when one is rare.

About 6 % of the tokens are replaced, so an accuracy of 94 % means nothing; these say more. Equal scores count as one
threshold. Definitions as in scikit-learn, against which they are tested.
"""

import torch
from torch import Tensor


def _curve(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return true and false positives at each distinct threshold, from the highest score down, each (K,) float64."""
    order = scores.argsort(descending=True)
    sorted_scores, sorted_labels = scores[order], labels[order].double()
    is_last = torch.ones_like(sorted_scores, dtype=torch.bool)
    is_last[:-1] = sorted_scores[1:] != sorted_scores[:-1]
    return sorted_labels.cumsum(0)[is_last], (1 - sorted_labels).cumsum(0)[is_last]


def auc(scores: Tensor, labels: Tensor) -> float:
    """Return the area under the ROC curve, in [0, 1]; NaN if a class is missing.

    Args:
        scores: Higher means more likely positive, (N,) float.
        labels: (N,) bool.
    """
    hits, alarms = _curve(scores, labels)
    if not len(hits) or hits[-1] == 0 or alarms[-1] == 0:
        return float("nan")
    start = hits.new_zeros(1)
    return float(torch.trapezoid(torch.cat([start, hits]), torch.cat([start, alarms])) / (hits[-1] * alarms[-1]))


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """Return the mean precision over the recalls, in [0, 1]; NaN if nothing is positive. See `auc`."""
    hits, alarms = _curve(scores, labels)
    if not len(hits) or hits[-1] == 0:
        return float("nan")
    gains = torch.diff(hits, prepend=hits.new_zeros(1)) / hits[-1]
    return float((gains * hits / (hits + alarms)).sum())


def recall_at_false_positives(scores: Tensor, labels: Tensor, *, share: float = 0.01) -> float:
    """Return the highest recall with at most this share of negatives flagged; NaN if a class is missing."""
    hits, alarms = _curve(scores, labels)
    if not len(hits) or hits[-1] == 0 or alarms[-1] == 0:
        return float("nan")
    allowed = alarms <= share * alarms[-1]
    return float(hits[allowed].max() / hits[-1]) if bool(allowed.any()) else 0.0
