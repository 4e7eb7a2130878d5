"""Questions whose answers are stretches of a text, as SQuAD has them.

Read are rows `{"id", "question", "context", "answers": {"text": […], "answer_start": […]}}` (with `is_impossible` or
empty answers where the text has none), and the nested `.json` files in which SQuAD itself is distributed.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from electrify.data.labelled import BadRowError, read_labelled, required
from electrify.data.rejects import EMPTY, NOT_TEXT, Rejects
from electrify.errors import DataError

_LOG = logging.getLogger(__name__)
WRONG_OFFSET = "answer that is not in its text"


@dataclass(frozen=True, slots=True)
class QuestionExample:
    """A question, the text that may answer it, and the accepted answers."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[int, str], ...] | None
    """(First character in the context, text) of each; empty if the text has no answer, None if nobody knows."""
    place: str = field(default="", compare=False)
    """Where it was read, as `path:row`."""


def read_questions(
    path: str | Path, *, needs_answers: bool = True, rejects: Rejects | None = None
) -> list[QuestionExample]:
    """Read questions.

    Args:
        path: SQuAD's `.json`, or rows in a file that `labelled.read_labelled` reads.
        needs_answers: Whether a row without answers is bad; otherwise its answers are None.
        rejects: Where bad rows are counted, and how many are put up with; none if not given.

    Raises:
        DataError: If too many rows are bad, naming the first: an offset that does not match its answer, for one.
    """
    if Path(path).suffix.lower() == ".json":
        return _read_nested(Path(path), needs_answers=needs_answers, rejects=rejects or Rejects(0.0))
    return read_labelled(path, lambda row, place: _parse(row, place, needs_answers), rejects=rejects)


def _parse(row: dict[str, Any], place: str, needs_answers: bool) -> QuestionExample:
    question, context = required(row, "question"), required(row, "context")
    if not isinstance(question, str) or not isinstance(context, str):
        raise BadRowError(NOT_TEXT, "'question' and 'context' must be strings")
    if not question.strip() or not context.strip():
        raise BadRowError(EMPTY, "'question' or 'context'")
    identity = str(row.get("id", place))
    if row.get("answers") is None and not row.get("is_impossible"):
        if needs_answers:
            required(row, "answers")
        return QuestionExample(identity, question, context, None, place)
    return QuestionExample(identity, question, context, _answers(row, context), place)


def _answers(row: dict[str, Any], context: str) -> tuple[tuple[int, str], ...]:
    if row.get("is_impossible"):
        return ()
    value = row["answers"]
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):  # as in SQuAD's own files
        pairs = [(one.get("answer_start"), one.get("text")) for one in value]
    elif isinstance(value, dict):
        starts, texts = value.get("answer_start", []), value.get("text", [])
        if not isinstance(starts, list) or not isinstance(texts, list) or len(starts) != len(texts):
            raise BadRowError(NOT_TEXT, "'answers' must have as many texts as starts, in two lists")
        pairs = list(zip(starts, texts, strict=True))
    else:
        raise BadRowError(NOT_TEXT, '\'answers\' must be {"text": […], "answer_start": […]} or a list of such pairs')
    checked = []
    for start, text in pairs:
        if not isinstance(start, int) or isinstance(start, bool) or not isinstance(text, str) or not text:
            raise BadRowError(NOT_TEXT, "an answer needs a text and, as 'answer_start', its first character")
        found = context[start : start + len(text)] if start >= 0 else ""
        if found != text:
            raise BadRowError(WRONG_OFFSET, f"at character {start} stands {found[:40]!r}, not {text[:40]!r}")
        checked.append((start, text))
    return tuple(checked)


def _read_nested(path: Path, *, needs_answers: bool, rejects: Rejects) -> list[QuestionExample]:
    examples = []
    for number, row in enumerate(_rows_of_squad(path), start=1):
        place = f"{path}:question {number}"
        try:
            examples.append(_parse(row, place, needs_answers))
            rejects.keep(0)
        except BadRowError as problem:
            rejects.add(problem.kind, place, problem.detail)
    rejects.check()
    if not examples:
        raise DataError(f"{path}: no questions. Is it the right file?")
    if rejects.num_bad:
        _LOG.warning("%s: %d questions left out: %s.", path, rejects.num_bad, rejects.describe())
    return examples


def _rows_of_squad(path: Path) -> Iterator[dict[str, Any]]:
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield {**question, "context": paragraph["context"], "title": article.get("title")}
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise DataError(f"{path}: not a file as SQuAD is distributed ({problem!r}); rows belong into .jsonl.") from None
