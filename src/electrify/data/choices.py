"""Questions with several answers to choose from: a text, the choices, and which one is right."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from electrify.data.labelled import BadRowError, read_labelled, required
from electrify.data.rejects import EMPTY, NOT_TEXT, Rejects

WRONG_LABEL = "label that is no choice"
OTHER_NUMBER = "another number of choices"


@dataclass(frozen=True, slots=True)
class ChoiceExample:
    """A text and what may complete or answer it."""

    text: str
    choices: tuple[str, ...]
    label: int | None
    """Number of the right choice, from 0."""
    place: str = field(default="", compare=False)
    """Where it was read, as `path:row`."""


def read_choices(
    path: str | Path,
    *,
    text_field: str = "text",
    choices_field: str = "choices",
    label_field: str = "label",
    needs_labels: bool = True,
    rejects: Rejects | None = None,
) -> list[ChoiceExample]:
    """Read questions with choices; every row must have as many as the first.

    Args:
        path: See `labelled.read_labelled`, as for the errors.
        text_field: Field of the text; a field `question`, if there is one, is put behind it.
        choices_field: Field with the list of choices.
        label_field: Field of the right one: its number from 0, a letter from "A", or its text.
        needs_labels: Whether a row without a label is bad; otherwise its label is None.
        rejects: Where bad rows are counted, and how many are put up with; none if not given.
    """
    sizes: set[int] = set()

    def parse(row: dict[str, Any], place: str) -> ChoiceExample:
        name = "question" if text_field == "text" and "text" not in row else text_field
        parts = [required(row, name)] + ([row["question"]] if "question" in row and name != "question" else [])
        choices = required(row, choices_field)
        if not all(isinstance(part, str) for part in parts) or not isinstance(choices, list):
            raise BadRowError(NOT_TEXT, f"'{name}' must be a string, '{choices_field}' a list of strings")
        if len(choices) < 2 or not all(isinstance(one, str) for one in choices):
            raise BadRowError(NOT_TEXT, f"'{choices_field}' must be two or more strings")
        text = " ".join(parts)
        if not text.strip() or not all(one.strip() for one in choices):
            raise BadRowError(EMPTY, "a text or a choice")
        sizes.add(len(choices))
        if len(sizes) > 1:
            sizes.discard(len(choices))
            raise BadRowError(OTHER_NUMBER, f"{len(choices)}, the rows before have {next(iter(sizes))}")
        label = _label(row.get(label_field), choices)
        if label is None and needs_labels:
            raise BadRowError(WRONG_LABEL, f"'{label_field}' is {row.get(label_field)!r}")
        return ChoiceExample(text, tuple(choices), label, place)

    return read_labelled(path, parse, rejects=rejects)


def _label(value: Any, choices: list[str]) -> int | None:
    if isinstance(value, str) and value in choices:
        return choices.index(value)
    if isinstance(value, str) and len(value) == 1 and value.isalpha():
        value = ord(value.upper()) - ord("A")
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value < len(choices) else None
