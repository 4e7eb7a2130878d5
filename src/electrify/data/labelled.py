"""Labelled examples for fine-tuning and measuring, from the same files that `records` reads.

This file reads texts and pairs; `tagged`, `questions` and `choices` read the other kinds, through `read_labelled`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from electrify import progress
from electrify.data.lines import open_source
from electrify.data.records import read_rows
from electrify.data.rejects import EMPTY, MISSING_FIELD, NOT_TEXT, Rejects
from electrify.errors import DataError

_LOG = logging.getLogger(__name__)
E = TypeVar("E")
TEXT_FIELD = "text"


class BadRowError(Exception):
    """A row that cannot be used.

    Args:
        kind: What is wrong, one of the constants of `rejects`.
        detail: What helps to mend it.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Example:
    """One text, or a pair, with its label, or labels, or score."""

    text: str
    text_b: str | None
    label: str | None
    labels: tuple[str, ...] = ()
    """All labels of a text that may have several or none."""
    group: str | None = None
    """What the example belongs to, as the query of a candidate."""
    place: str = field(default="", compare=False)
    """Where it was read, as `path:row`, for messages."""


@dataclass(frozen=True, slots=True)
class TextFields:
    """Names of the fields that hold texts and labels.

    Where a name is its default and a row has another usual one instead, that is taken: `text_a`, `sentence`,
    `sentence1`, `query` or `tokens` (joined by spaces) for the text, `text_b`, `sentence2` or `candidate` for the
    second.
    """

    text: str = TEXT_FIELD
    text_b: str | None = None
    label: str = "label"
    labels: str | None = None
    """A field that holds a list of labels; the label is then not read."""
    group: str | None = None


_TEXTS = ("text_a", "sentence", "sentence1", "query", "tokens")
_NAME_IT = "name the right one (--text-field, --text-b-field, --label-field, --group-field)"
_SECOND_TEXTS = ("text_b", "sentence2", "candidate")


def read_labelled(
    path: str | Path,
    parse: Callable[[dict[str, Any], str], E],
    *,
    rejects: Rejects | None = None,
    columns: tuple[str, ...] = (),
) -> list[E]:
    """Read the examples of a file.

    Args:
        path: `.jsonl`, `.csv`, `.tsv` or `.parquet`, also `.gz`, `.zst` or `.bz2`.
        parse: Makes an example of a row's fields and its place; raises `BadRowError`.
        rejects: Where bad rows are counted, which are left out, and how many are put up with. None puts up with none,
            so that no score is measured on less than the whole file.
        columns: Names of the columns of a `.csv` or `.tsv` file that has no header; empty reads them from its first
        row.

    Raises:
        DataError: If too many rows are bad, naming the first, or there are none.
    """
    rejects = rejects or Rejects(0.0)
    examples: list[E] = []
    with progress.bar("Reading examples") as bar, open_source(Path(path)) as source:
        for number, row in read_rows(source, rejects, header=columns):
            place = f"{source.path}:{number}"
            try:
                examples.append(parse(row, place))
            except BadRowError as problem:
                rejects.add(problem.kind, place, problem.detail)
                continue
            rejects.keep(0)
            bar.advance(examples=1)
    rejects.check()
    if not examples:
        raise DataError(f"{path}: no examples. Is it the right file?")
    if rejects.num_bad:
        _LOG.warning("%s: %d rows left out: %s.", path, rejects.num_bad, rejects.describe())
    return examples


def read_examples(
    path: str | Path,
    *,
    text_field: str = "text",
    text_b_field: str | None = None,
    label_field: str = "label",
    needs_labels: bool = True,
    rejects: Rejects | None = None,
    fields: TextFields | None = None,
    columns: tuple[str, ...] = (),
) -> list[Example]:
    """Read texts or pairs with their labels.

    Args:
        path: See `read_labelled`, as for the errors.
        text_field: Field of the text.
        text_b_field: Field of a pair's second text; None takes a usual one if there is one.
        label_field: Field of the label. Numbers become their text, true and false "true" and "false".
        needs_labels: Whether a row without a label is bad; otherwise its label is None.
        rejects: Where bad rows are counted, and how many are put up with; none if not given.
        fields: All names at once; the three above are then not read.
        columns: Names of the columns of a table without a header.
    """
    names = fields or TextFields(text_field, text_b_field, label_field)
    return read_labelled(
        path,
        lambda row, place: parse_example(row, place, names, needs_labels=needs_labels),
        rejects=rejects,
        columns=columns,
    )


def parse_example(row: dict[str, Any], place: str, fields: TextFields, *, needs_labels: bool) -> Example:
    """Make an example of a row; raises `BadRowError` if it cannot be used."""
    text_name = _usual(row, fields.text, TEXT_FIELD, _TEXTS)
    second_name = fields.text_b or next((name for name in _SECOND_TEXTS if name in row), None)
    if second_name == text_name:
        second_name = None
    text = _text(row, text_name)
    second = None if second_name is None else _text(row, second_name)
    group = None if fields.group is None else str(required(row, fields.group))
    if fields.labels is not None:
        labels = _labels(row, fields.labels) if needs_labels or fields.labels in row else ()
        return Example(text, second, None, labels, group, place)
    if needs_labels:
        required(row, fields.label)
    label = label_text(row.get(fields.label))
    if needs_labels and label is None:
        raise BadRowError(NOT_TEXT, "texts must be strings, a label a string, a number, true or false")
    if label == "":
        raise BadRowError(EMPTY)
    return Example(text, second, label, (), group, place)


def required(row: dict[str, Any], name: str) -> Any:
    """Return a field; raises `BadRowError` naming the fields that there are if it is missing."""
    value = row.get(name)
    if value is None and name in row:
        raise BadRowError(MISSING_FIELD, f"'{name}' is empty (null)")
    if value is None:
        found = ", ".join(row)
        separator = next((sign for sign in (";", "\t", "|", ",") if len(row) == 1 and sign in found), None)
        hint = (
            ""
            if separator is None
            else f"; the columns seem to be separated by {separator!r}: .csv is read with ',', .tsv with tabs"
        )
        raise BadRowError(MISSING_FIELD, f"no '{name}', fields are {found}; {_NAME_IT}{hint}")
    return value


def label_text(value: Any) -> str | None:
    """Return a label as text; None if it is neither a string nor a number nor a truth value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _usual(row: dict[str, Any], name: str, default: str, others: tuple[str, ...]) -> str:
    if name != default or name in row:
        return name
    return next((other for other in others if other in row), name)


def _text(row: dict[str, Any], name: str) -> str:
    value = required(row, name)
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    if not isinstance(value, str):
        raise BadRowError(NOT_TEXT, f"'{name}' must be a string, texts must be strings")
    if not value.strip():
        raise BadRowError(EMPTY, f"'{name}' is empty")
    return value


def _labels(row: dict[str, Any], name: str) -> tuple[str, ...]:
    value = required(row, name)
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise BadRowError(NOT_TEXT, f"'{name}' must be a list of strings")
    return tuple(dict.fromkeys(value))
