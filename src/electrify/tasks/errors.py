"""Where predictions go wrong: by class, by pair of classes, and the worst single ones."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from electrify.tasks.answering import QuestionAnswering
from electrify.tasks.choice import MultipleChoice
from electrify.tasks.classification import Classification
from electrify.tasks.intents import IntentSlots
from electrify.tasks.multilabel import MultiLabel
from electrify.tasks.ranking import Ranking
from electrify.tasks.regression import Regression
from electrify.tasks.tagging import Tagging
from electrify.tasks.tags import OUTSIDE, read_spans, repair
from electrify.tasks.task import Task

_SHOWN_LETTERS = 300


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How well one label, or one type of entity, is found."""

    precision: float
    recall: float
    f1: float
    count: int
    """How often it is right."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong prediction."""

    place: str
    """Where the example was read, as `path:row`."""
    text: str
    right: str
    predicted: str
    badness: float
    """How wrong: confidence of the wrong answer, distance of a number, share of wrong tags (and 1
    for a wrong intent), 1 − F1 of an answer."""


def confusion_of(task: Task, examples: Sequence[Any], predictions: Sequence[Any]) -> dict[str, dict[str, int]]:
    """Return counts by right label, then by predicted label; of words for tagging with tags that spell no entities."""
    if isinstance(task, Classification | Ranking):
        pairs = [(str(a.label), b.label) for a, b in zip(examples, predictions, strict=True)]
        names: Sequence[str] = task.labels
    elif isinstance(task, IntentSlots):
        pairs = [(str(a.label), b.label) for a, b in zip(examples, predictions, strict=True)]
        names = sorted({*task.intents, *(right for right, _ in pairs)})  # a test part may have more than training
    elif isinstance(task, Tagging) and task.scheme == "plain":
        pairs = [
            pair for a, b in zip(examples, predictions, strict=True) for pair in zip(a.tags or (), b.tags, strict=True)
        ]
        names = task.labels
    else:
        return {}
    table = {right: dict.fromkeys(names, 0) for right in names}
    for right, guess in pairs:
        table[right][guess] += 1
    return table


def class_table(task: Task, examples: Sequence[Any], predictions: Sequence[Any]) -> dict[str, ClassScores]:
    """Return how well each label or type of entity is found; empty for tasks that have none."""
    asked: Counter[str] = Counter()
    given: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for example, prediction in zip(examples, predictions, strict=True):
        wanted, found = _items(task, example), _items(task, prediction)
        asked.update(name for name, _ in wanted)
        given.update(name for name, _ in found)
        right.update(name for name, _ in wanted & found)
    return {
        name: ClassScores(
            right[name] / given[name] if given[name] else 0.0,
            right[name] / asked[name] if asked[name] else 0.0,
            2 * right[name] / (asked[name] + given[name]),
            asked[name],
        )
        for name in sorted(asked | given)
    }


def _items(task: Task, one: Any) -> set[tuple[str, Any]]:
    """Return what an example or a prediction says, as (class, where)."""
    if isinstance(task, IntentSlots):
        task = task.slots
    if isinstance(task, Tagging):
        if task.scheme == "plain":
            return {(tag, place) for place, tag in enumerate(one.tags or ())}
        tags, _ = repair(one.tags or (), task.scheme)
        return {(name, (start, end)) for name, start, end in read_spans(tags)}
    if isinstance(task, MultiLabel):
        return {(label, 0) for label in one.labels}
    if isinstance(task, Classification | Ranking):
        return {(str(one.label), 0)}
    return set()


def worst_mistakes(task: Task, examples: Sequence[Any], predictions: Sequence[Any], *, most: int) -> list[Mistake]:
    """Return the worst wrong predictions, worst first."""
    mistakes = []
    for example, prediction in zip(examples, predictions, strict=True):
        right, predicted, badness = _compare(task, example, prediction)
        if badness > 0:
            mistakes.append(Mistake(example.place, _shown(example), right, predicted, badness))
    return sorted(mistakes, key=lambda one: -one.badness)[:most]


def _compare(task: Task, example: Any, prediction: Any) -> tuple[str, str, float]:
    if isinstance(task, Classification | Ranking):
        badness = prediction.probabilities[prediction.label] if prediction.label != example.label else 0.0
        return str(example.label), prediction.label, badness
    if isinstance(task, MultiLabel):
        wrong = set(example.labels) ^ set(prediction.labels)
        return ", ".join(example.labels), ", ".join(prediction.labels), float(len(wrong))
    if isinstance(task, Regression):
        return str(example.label), f"{prediction.score:.3f}", abs(float(example.label) - prediction.score)
    if isinstance(task, IntentSlots):
        right, predicted, badness = _compare(task.slots, example, prediction)
        is_wrong = example.label != prediction.label
        return f"{example.label}: {right}", f"{prediction.label}: {predicted}", badness + is_wrong
    if isinstance(task, Tagging):
        tags, _ = repair(example.tags or (), task.scheme)
        wrong_tags = sum(a != b for a, b in zip(tags, prediction.tags, strict=True))
        return (
            _spelled(task, example.words, tags),
            _spelled(task, example.words, prediction.tags),
            wrong_tags / len(tags),
        )
    if isinstance(task, QuestionAnswering):
        accepted = [text for _, text in example.answers or ()]
        said = prediction.text or "(no answer)"
        return (
            " / ".join(dict.fromkeys(accepted)) or "(no answer)",
            said,
            1 - task.answer_score(prediction.text, accepted),
        )
    assert isinstance(task, MultipleChoice)
    is_wrong = prediction.choice != example.label
    right = example.choices[example.label] if example.label is not None else ""
    return right, prediction.text, max(prediction.probabilities) if is_wrong else 0.0


def _spelled(task: Tagging, words: Sequence[str], tags: Sequence[str]) -> str:
    if task.scheme == "plain":
        return " ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=True))[:_SHOWN_LETTERS]
    spans = [f"{' '.join(words[start:end])} [{name}]" for name, start, end in read_spans(tags)]
    return "; ".join(spans)[:_SHOWN_LETTERS] or OUTSIDE


def _shown(example: Any) -> str:
    words = getattr(example, "words", None)
    parts = [" ".join(words)] if words else [getattr(example, "question", None) or example.text]
    second = getattr(example, "text_b", None) or getattr(example, "context", None)
    text = " | ".join([*parts, *([second] if second else [])])
    return text if len(text) <= _SHOWN_LETTERS else text[:_SHOWN_LETTERS] + "…"
