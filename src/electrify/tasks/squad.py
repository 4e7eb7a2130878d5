"""How answers are compared: the rules of the SQuAD evaluation scripts (Rajpurkar et al. 2016, 2018).

Text is made small, punctuation and the words a, an, the are removed, and white space is made single. An answer is exact
if it equals one of the accepted ones; its F1 is that of the bags of words, the best over the accepted ones. Where there
is no answer, only saying nothing is right.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from electrify.tasks.judgement import Columns

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = frozenset(string.punctuation)


def normalise(answer: str) -> str:
    """Return an answer as it is compared."""
    letters = "".join(letter for letter in answer.lower() if letter not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", letters).split())


def exact_match(given: str, accepted: Sequence[str]) -> float:
    """Return 1 if an answer equals one of those accepted, else 0; "" is the only right one if none is accepted."""
    return float(any(normalise(given) == normalise(one) for one in _answers(accepted)))


def f1(given: str, accepted: Sequence[str]) -> float:
    """Return the best F1 of an answer's words over those accepted, in [0, 1]."""
    return max(_f1(normalise(given).split(), normalise(one).split()) for one in _answers(accepted))


def _answers(accepted: Sequence[str]) -> Sequence[str]:
    """Return what an answer is compared with; as in the 2.0 script, accepted answers without a word do not count."""
    return [one for one in accepted if normalise(one)] or [""]


def _f1(given: list[str], accepted: list[str]) -> float:
    if not given or not accepted:
        return float(given == accepted)
    common = (Counter(given) & Counter(accepted)).total()
    return 2 * common / (len(given) + len(accepted))


@dataclass(frozen=True, slots=True)
class Threshold:
    """Above which score of "no answer" nothing is said, and what exact match and F1 come to then."""

    value: float
    metric: float


def best_threshold(no_answer_scores: np.ndarray, scores: np.ndarray, is_answerable: np.ndarray) -> Threshold:
    """Return the threshold with the highest mean score.

    Args:
        no_answer_scores: How much more likely "no answer" is than the best answer, (N,).
        scores: What the best answer scores if it is given, (N,); 0 where there is no answer.
        is_answerable: Whether there is one, (N,) bool.
    """
    order = np.argsort(no_answer_scores, kind="stable")
    ordered = no_answer_scores[order]
    # With the threshold at the k-th lowest score, the first k + 1 answers are given; equal scores go together, and
    # where there is no answer to give the score is infinite.
    gain = np.where(is_answerable, scores, -1.0)[order].cumsum()
    is_cut = np.append(ordered[1:] != ordered[:-1], True) & np.isfinite(ordered)
    cuts = np.flatnonzero(is_cut)
    totals = np.concatenate([[0.0], gain[cuts]]) + (~is_answerable).sum()
    best = int(totals.argmax())
    lowest = float(ordered[0]) - 1 if np.isfinite(ordered[:1]).any() else 0.0
    value = lowest if best == 0 else float(ordered[cuts[best - 1]])
    return Threshold(value, float(totals[best] / max(1, len(order))))


def formula(columns: Columns) -> dict[str, float]:
    """Return exact match and F1 over all questions and, where some have no answer, over those with and without one."""
    exact, words, has_answer = columns["exact"], columns["f1"], columns["has_answer"].astype(bool)
    metrics = {"f1": float(words.mean()), "exact": float(exact.mean())}
    if not has_answer.all():
        metrics["no_answer_accuracy"] = float(exact[~has_answer].mean())
        if has_answer.any():
            metrics["has_answer_f1"] = float(words[has_answer].mean())
            metrics["has_answer_exact"] = float(exact[has_answer].mean())
    return metrics
