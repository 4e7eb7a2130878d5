"""The best answers that a network's scores give in one window of a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from electrify.config import QuestionConfig
from electrify.models.heads import JointQuestionAnswerer
from electrify.models.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer as characters of its context."""

    first: int
    behind: int
    score: float


class ContextWindow(Protocol):
    """What is needed of a window: where its context begins in the row, and which tokens are at home in it."""

    @property
    def first(self) -> int:
        """Where in the row the context begins."""
        ...

    @property
    def is_home(self) -> np.ndarray:
        """Tokens of the context with more context here than elsewhere, (W,) bool."""
        ...


def plain_candidates(logits: np.ndarray, window: ContextWindow, options: QuestionConfig) -> np.ndarray:
    """Return the best answers where starts and ends are scored apart.

    Args:
        logits: Scores of each token as start and end, (T, 2).
        window: Which of the tokens are context.
        options: Beam and longest answer.

    Returns:
        (1 + K, 4) float64. The first row's last entry is the score of "no answer", that of the first token; the others
        are start and end (tokens of the context in this window, the last one included), score, 0; best first.
    """
    size = len(window.is_home)
    context = logits[window.first : window.first + size].astype(np.float64)
    start_scores = np.where(window.is_home, context[:, 0], -np.inf)
    starts = _top(start_scores, options.beam)
    ends = _top(context[:, 1], options.beam)
    pairs = [
        (start, end, start_scores[start] + context[end, 1], 0.0)
        for start in starts
        for end in ends
        if start <= end < start + options.max_answer_length and np.isfinite(start_scores[start])
    ]
    return _rows(pairs, no_answer=float(logits[0].sum()), beam=options.beam)


@torch.no_grad()
def joint_candidates(
    network: JointQuestionAnswerer, inputs: Inputs, windows: Sequence[ContextWindow], options: QuestionConfig
) -> list[np.ndarray]:
    """Return the best answers of a beam: the likeliest starts, and the likeliest ends given each.

    The score is the logarithm of p(there is an answer) · p(start) · p(end | start), all within the window. The code of
    the original leaves out the first factor; it holds back windows that are sure of a place but not of an answer. The
    score of "no answer" is the negative logit of there being one.

    Returns:
        For each window what `plain_candidates` returns.
    """
    hidden = network(inputs)
    head = network.answer_head
    start_logits = head.start_logits(hidden).float()  # (B, T)
    if inputs.attention_mask is not None:
        start_logits = start_logits.masked_fill(~inputs.attention_mask, torch.finfo(torch.float32).min)
    is_start = torch.zeros_like(start_logits, dtype=torch.bool)
    for index, window in enumerate(windows):
        home = torch.from_numpy(window.is_home).to(hidden.device)
        is_start[index, window.first : window.first + len(home)] = home
    beam = min(options.beam, start_logits.shape[1])
    best, starts = start_logits.log_softmax(-1).masked_fill(~is_start, -torch.inf).topk(beam, dim=1)  # (B, K)
    end_logits = head.end_logits(hidden, starts).float()  # (B, K, T)
    if inputs.attention_mask is not None:
        end_logits = end_logits.masked_fill(~inputs.attention_mask[:, None], torch.finfo(torch.float32).min)
    end_scores = end_logits.log_softmax(-1).cpu().numpy()
    answerable = head.answerable_logits(hidden, start_logits).float()
    no_answer, chance = (-answerable).tolist(), F.logsigmoid(answerable).tolist()
    result = []
    for index, window in enumerate(windows):
        size, first = len(window.is_home), window.first
        pairs = []
        for rank, (start, score) in enumerate(zip(starts[index].tolist(), best[index].tolist(), strict=True)):
            if not np.isfinite(score):
                continue
            low, high = start - first, min(start - first + options.max_answer_length, size)
            ends = end_scores[index, rank, first + low : first + high]
            score += chance[index]
            pairs += [(low, low + end, score + float(ends[end]), 0.0) for end in _top(ends, options.beam)]
        result.append(_rows(pairs, no_answer=no_answer[index], beam=options.beam))
    return result


def _top(scores: np.ndarray, count: int) -> list[int]:
    order = np.argsort(-scores, kind="stable")[:count]
    return [int(index) for index in order]


def _rows(pairs: list[tuple[int, int, float, float]], *, no_answer: float, beam: int) -> np.ndarray:
    ranked = sorted(pairs, key=lambda pair: -pair[2])[:beam]
    return np.array([(0.0, 0.0, 0.0, no_answer), *ranked], dtype=np.float64)
