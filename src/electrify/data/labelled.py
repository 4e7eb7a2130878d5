"""Labelled examples for fine-tuning and measuring, from the same files that `records` reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrify import progress
from electrify.data.records import Source, open_source, read_rows
from electrify.data.rejects import EMPTY, MISSING_FIELD, NOT_TEXT, Rejects
from electrify.errors import DataError


@dataclass(frozen=True, slots=True)
class Example:
    """One text, or a pair, with its label."""

    text: str
    text_b: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class _Fields:
    text: str
    text_b: str | None
    label: str
    needs_labels: bool


def read_examples(
    path: str | Path,
    *,
    text_field: str = "text",
    text_b_field: str | None = None,
    label_field: str = "label",
    needs_labels: bool = True,
    max_bad_share: float = 0.0,
) -> list[Example]:
    """Read labelled examples.

    Where the names are the defaults and a row has `text_a` instead of `text`, that is the text; `text_b` is the second.

    Args:
        path: `.jsonl`, `.csv`, `.tsv` or `.parquet`, also `.gz`, `.zst` or `.bz2`.
        text_field: Field of the text.
        text_b_field: Field of a pair's second text; None takes `text_b` if there is one.
        label_field: Field of the label. Numbers become their text, true and false "true" and "false".
        needs_labels: Whether a row without a label is bad; otherwise its label is None.
        max_bad_share: Highest share of bad rows; they are left out. 0 allows none, so that no score is measured on less
            than the whole file.

    Raises:
        DataError: If too many rows are bad, naming the first, or there are none.
    """
    rejects = Rejects(max_bad_share)
    examples: list[Example] = []
    with progress.bar("Reading examples") as bar, open_source(Path(path)) as source:
        for number, row in read_rows(source, rejects):
            fields = _find_fields(row, text_field, text_b_field, label_field, needs_labels)
            example = _make_example(source, number, row, fields, rejects)
            if example is not None:
                rejects.keep(len(example.text.encode()))
                examples.append(example)
                bar.advance(examples=1)
    rejects.check()
    if not examples:
        raise DataError(f"{path}: no examples. Is it the right file?")
    return examples


def _find_fields(
    row: dict[str, Any], text_field: str, text_b_field: str | None, label_field: str, needs_labels: bool
) -> _Fields:
    if text_field == "text" and "text" not in row and "text_a" in row:
        text_field = "text_a"
    if text_b_field is None and "text_b" in row:
        text_b_field = "text_b"
    return _Fields(text_field, text_b_field, label_field, needs_labels)


def _make_example(
    source: Source, number: int, row: dict[str, Any], fields: _Fields, rejects: Rejects
) -> Example | None:
    place = f"{source.path}:{number}"
    needed = [
        fields.text,
        *([fields.text_b] if fields.text_b else []),
        *([fields.label] if fields.needs_labels else []),
    ]
    for name in needed:
        if row.get(name) is None:
            rejects.add(MISSING_FIELD, place, f"no '{name}', fields are {', '.join(row)}; name the right one")
            return None
    texts = [row[name] for name in needed[: 1 + (fields.text_b is not None)]]
    label = _label_text(row.get(fields.label))
    if not all(isinstance(text, str) for text in texts) or (label is None and fields.needs_labels):
        rejects.add(NOT_TEXT, place, "texts must be strings, a label a string, a number, true or false")
    elif not all(text.strip() for text in texts) or label == "":
        rejects.add(EMPTY, place)
    else:
        return Example(texts[0], texts[1] if len(texts) > 1 else None, label)
    return None


def _label_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None
