"""Extractive question answering: the stretch of a text that answers a question, or that there is none.

Contexts longer than a row are read in windows whose beginnings lie `stride` tokens apart; an answer is learned in every
window that holds all of it, and "no answer", the first token, in the others (Devlin et al. 2018, SQuAD).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.config import FinetuneConfig
from electrify.data.questions import QuestionExample
from electrify.data.tokenizer import Encoded as EncodedText
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError
from electrify.models.heads import TaskNetwork
from electrify.models.question_heads import ElectraForJointQuestionAnswering, ModernBertForJointQuestionAnswering
from electrify.tasks import cmrc, squad
from electrify.tasks.features import Features
from electrify.tasks.judgement import Columns, Judgement
from electrify.tasks.spans import Candidate, joint_candidates, plain_candidates
from electrify.tasks.task import Batch, Encoded, Head

KIND = "question_answering"
METRICS = ("f1", "exact", "has_answer_f1", "has_answer_exact", "no_answer_accuracy")
CHARACTER_METRICS = ("char_f1", "char_exact")
"""By the rules of CMRC 2018, for Chinese; measured where one of them chooses the epoch."""
_NO_LIMIT = 1 << 40
_SHORTEST_CONTEXT = 8


@dataclass(frozen=True, slots=True)
class AnswerPrediction:
    """What the text answers."""

    id: str
    text: str
    """The best answer; empty if the text has none."""
    start: int | None
    """Its first character in the context; None if the text has none."""
    score: float
    """Of the best answer: the sum of its logits."""
    no_answer_score: float
    """How much more likely "no answer" is than the best answer, in logits; above the threshold nothing is said."""
    best_text: str
    """The best answer, whether it is said or not."""


@dataclass(frozen=True, slots=True)
class Window:
    """One row of a question and a part of its context."""

    example: int
    first: int
    """Where in the row the context begins."""
    offsets: np.ndarray
    """Characters of the context that each of its tokens in this row stands for, (W, 2) int64."""
    is_home: np.ndarray
    """Tokens with more context here than in any other window, (W,) bool; an answer is taken from its start's home."""
    target: tuple[int, int]
    """First and last token of an answer in the row; (0, 0) if this window has none."""


@dataclass(frozen=True, slots=True)
class QuestionAnswering:
    """The task; see `task.Task`. A unit is a row: a question with one window of its context."""

    config: FinetuneConfig
    can_be_unanswerable: bool
    """Whether training has questions without an answer, so that saying nothing is possible."""
    threshold: float = 0.0
    """Score of "no answer" above which nothing is said."""
    labels: tuple[str, ...] = ()
    kind: str = KIND
    problem_type: str | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics: those of CMRC too, and first, where one of them is asked for."""
        return (*CHARACTER_METRICS, *METRICS) if self.is_by_character else METRICS

    def measurable(self, examples: Sequence[QuestionExample]) -> tuple[str, ...]:
        """Return the metrics that some questions can be measured by: those apart need questions of both sorts."""
        has_answer = {bool(one.answers) for one in examples}
        return tuple(
            name
            for name in self.metrics
            if (name != "no_answer_accuracy" or False in has_answer)
            and (not name.startswith("has_answer") or len(has_answer) == 2)
        )

    @property
    def is_by_character(self) -> bool:
        """Whether answers are compared by the rules of CMRC 2018."""
        return self.config.metric in CHARACTER_METRICS

    def answer_score(self, given: str, accepted: Sequence[str]) -> float:
        """Return the F1 of an answer, by the rules that are asked for."""
        return cmrc.f1(given, accepted) if self.is_by_character else squad.f1(given, accepted)

    @property
    def head(self) -> Head:
        """Which network it needs."""
        return "joint_question" if self.config.question.head == "joint" else "question"

    def encode(
        self, examples: Sequence[QuestionExample], tokenizer: Tokenizer, *, max_length: int, is_training: bool = False
    ) -> Encoded:
        """Make a row for each window, with the first accepted answer as target."""
        options = self.config.question
        questions = tokenizer.encode([one.question for one in examples], max_length=_NO_LIMIT)
        contexts = tokenizer.encode([one.context for one in examples], max_length=_NO_LIMIT)
        longest = min(options.max_question_length, max_length - 3 - _SHORTEST_CONTEXT)
        if longest < 1:
            raise ConfigError(f"max_length = {max_length} leaves no room for a question and a text; give 64 or more.")
        ids, types, windows, num_cut = [], [], [], 0
        for number, (example, asked, context) in enumerate(zip(examples, questions, contexts, strict=True)):
            question = asked.input_ids[1:-1][:longest]
            num_cut += len(asked.input_ids) - 2 > longest
            for window, pieces in _windows(number, example, context, len(question) + 2, max_length, options.stride):
                ids.append([tokenizer.cls_id, *question, tokenizer.sep_id, *pieces, tokenizer.sep_id])
                types.append([0] * window.first + [1] * (len(pieces) + 1))
                windows.append(window)
        answered = {window.example for window in windows if window.target != (0, 0)}
        lost = sum(bool(one.answers) and number not in answered for number, one in enumerate(examples))
        counts = {"questions cut": num_cut, "answers too long for a window": lost}
        shown = {name: count for name, count in counts.items() if count}
        return Encoded(Features(ids, types, num_cut, 0), examples, windows, shown)

    def weight(self, encoded: Encoded, units: np.ndarray) -> float:
        """Return the number of windows."""
        return float(len(units))

    def loss(self, network: TaskNetwork, batch: Batch) -> Tensor:
        """Return the summed loss: the mean of the cross-entropies of start and end, in nats.

        The joint network learns starts and ends where there is an answer, and everywhere whether there is one.
        """
        targets = torch.tensor([batch.encoded.targets[unit].target for unit in batch.units], device=batch.device)
        starts, ends = targets.unbind(1)
        if not isinstance(network, ElectraForJointQuestionAnswering | ModernBertForJointQuestionAnswering):
            logits = _hide(network(batch.inputs).float(), batch)
            both = F.cross_entropy(logits[..., 0], starts, reduction="sum")
            return (both + F.cross_entropy(logits[..., 1], ends, reduction="sum")) / 2
        hidden = network(batch.inputs)
        head = network.answer_head
        start_logits = head.start_logits(hidden).float()
        end_logits = head.end_logits(hidden, starts[:, None])[:, 0].float()
        logits = _hide(torch.stack([start_logits, end_logits], dim=-1), batch)
        is_answerable = starts > 0
        both = F.cross_entropy(logits[..., 0], starts, reduction="none")
        both = both + F.cross_entropy(logits[..., 1], ends, reduction="none")
        says = head.answerable_logits(hidden, logits[..., 0]).float()
        judged = F.binary_cross_entropy_with_logits(says, is_answerable.float(), reduction="sum")
        return (both * is_answerable).sum() / 2 + self.config.question.answerable_weight * judged

    def outputs(self, network: TaskNetwork, batch: Batch) -> list[np.ndarray]:
        """Return the best answers of each window, one a row: (K, 4) of start, end, score and "no answer" score."""
        windows: list[Window] = [batch.encoded.targets[unit] for unit in batch.units]
        options = self.config.question
        if isinstance(network, ElectraForJointQuestionAnswering | ModernBertForJointQuestionAnswering):
            return joint_candidates(network, batch.inputs, windows, options)
        logits = network(batch.inputs).float().cpu().numpy()
        return [plain_candidates(row, window, options) for row, window in zip(logits, windows, strict=True)]

    def decode(self, outputs: Sequence[np.ndarray], encoded: Encoded) -> list[AnswerPrediction]:
        """Return the best answer over all windows of each question."""
        best: list[Candidate | None] = [None] * len(encoded.examples)
        null = np.full(len(encoded.examples), np.inf)
        for window, rows in zip(encoded.targets, outputs, strict=True):
            null[window.example] = min(null[window.example], float(rows[0, 3]))
            for start, end, score, _ in rows[1:]:
                known = best[window.example]
                if known is None or score > known.score:
                    place = window.offsets[[int(start), int(end)]]
                    best[window.example] = Candidate(int(place[0, 0]), int(place[1, 1]), float(score))
        return [
            self._predict(example, found, float(lowest))
            for example, found, lowest in zip(encoded.examples, best, null, strict=True)
        ]

    def _predict(self, example: QuestionExample, found: Candidate | None, null: float) -> AnswerPrediction:
        if found is None:
            return AnswerPrediction(example.id, "", None, float("-inf"), float("inf"), "")
        text = example.context[found.first : found.behind]
        # The joint network judges "no answer" by itself; the plain one by the first token against the best answer.
        difference = null if self.config.question.head == "joint" else null - found.score
        says_nothing = self.can_be_unanswerable and difference > self.threshold
        said, start = ("", None) if says_nothing else (text, found.first)
        return AnswerPrediction(example.id, said, start, found.score, difference, text)

    def judge(self, examples: Sequence[QuestionExample], predictions: Sequence[AnswerPrediction]) -> Judgement:
        """Compare answers."""
        accepted = [[text for _, text in one.answers or ()] for one in examples]
        given = [one.text for one in predictions]
        columns = {
            "exact": np.array([squad.exact_match(one, right) for one, right in zip(given, accepted, strict=True)]),
            "f1": np.array([squad.f1(one, right) for one, right in zip(given, accepted, strict=True)]),
            "has_answer": np.array([float(bool(right)) for right in accepted]),
        }
        if self.is_by_character:
            pairs = list(zip(given, accepted, strict=True))
            columns["char_f1"] = np.array([cmrc.f1(one, right) for one, right in pairs])
            columns["char_exact"] = np.array([cmrc.exact_match(one, right) for one, right in pairs])
        return Judgement(columns, formula)

    def find_threshold(
        self, examples: Sequence[QuestionExample], predictions: Sequence[AnswerPrediction]
    ) -> squad.Threshold:
        """Return the threshold with the best F1 on these questions."""
        accepted = [[text for _, text in one.answers or ()] for one in examples]
        return squad.best_threshold(
            np.array([one.no_answer_score for one in predictions]),
            np.array(
                [self.answer_score(one.best_text, right) for one, right in zip(predictions, accepted, strict=True)]
            ),
            np.array([bool(right) for right in accepted]),
        )


def build(examples: Sequence[QuestionExample], config: FinetuneConfig) -> QuestionAnswering:
    """Make the task for some training examples.

    Raises:
        ElectrifyError: If scores by characters are asked for and NLTK is not installed.
    """
    task = QuestionAnswering(config, can_be_unanswerable=any(not example.answers for example in examples))
    if task.is_by_character:
        cmrc.require_nltk()
    return task


def formula(columns: Columns) -> dict[str, float]:
    """Return the metrics of SQuAD and, where answers were compared by characters, those of CMRC."""
    by_character = {name: float(columns[name].mean()) for name in CHARACTER_METRICS if name in columns}
    return by_character | squad.formula(columns)


def _windows(
    number: int, example: QuestionExample, context: EncodedText, first: int, max_length: int, stride: int
) -> list[tuple[Window, list[int]]]:
    pieces, offsets = context.input_ids[1:-1], np.array(context.offsets[1:-1], dtype=np.int64).reshape(-1, 2)
    room = max_length - first - 1
    stride = min(stride, max(1, room * 3 // 4))  # windows overlap by a quarter at least: nothing is left unread
    span = _token_span(offsets, example.answers[0]) if example.answers else None
    starts = list(range(0, max(1, len(pieces) - room + stride), stride)) if len(pieces) > room else [0]
    ends = [min(len(pieces), start + room) for start in starts]
    places = np.arange(len(pieces))
    # How much context a token has on its scarcer side, and a little for long windows, as in BERT's code.
    context_of = np.array(
        [
            np.where(
                (places >= start) & (places < end),
                np.minimum(places - start, end - 1 - places) + 0.01 * (end - start),
                -1.0,
            )
            for start, end in zip(starts, ends, strict=True)
        ]
    )
    home = context_of.argmax(0) if len(pieces) else np.zeros(0, dtype=np.int64)
    result = []
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        has_answer = span is not None and start <= span[0] and span[1] < end
        target = (span[0] - start + first, span[1] - start + first) if span is not None and has_answer else (0, 0)
        window = Window(number, first, offsets[start:end], home[start:end] == index, target)
        result.append((window, pieces[start:end]))
    return result


def _token_span(offsets: np.ndarray, answer: tuple[int, str]) -> tuple[int, int] | None:
    """Return the first and last token that share a character with an answer; None if none does."""
    begin, end = answer[0], answer[0] + len(answer[1])
    touched = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > begin))
    return (int(touched[0]), int(touched[-1])) if len(touched) else None


def _hide(logits: Tensor, batch: Batch) -> Tensor:
    """Put padding out of reach: (B, T, 2)."""
    mask = batch.inputs.attention_mask
    return logits if mask is None else logits.masked_fill(~mask[..., None], torch.finfo(logits.dtype).min)
