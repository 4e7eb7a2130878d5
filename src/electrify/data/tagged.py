"""Sentences as words with one tag each, for tagging, and perhaps a label of the whole sentence."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from electrify.data.labelled import BadRowError, label_text, read_labelled, required
from electrify.data.rejects import EMPTY, NOT_TEXT, Rejects

OTHER_LENGTH = "tags of another number"


@dataclass(frozen=True, slots=True)
class TaggedExample:
    """Words and their tags."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    place: str = field(default="", compare=False)
    """Where it was read, as `path:row`."""
    label: str | None = None
    """What the whole sentence wants, its intent, if that is read."""


def read_tagged(
    path: str | Path,
    *,
    words_field: str = "tokens",
    tags_field: str = "tags",
    label_field: str | None = None,
    needs_tags: bool = True,
    rejects: Rejects | None = None,
) -> list[TaggedExample]:
    """Read tagged sentences.

    Args:
        path: See `labelled.read_labelled`, as for the errors.
        words_field: Field with the list of words.
        tags_field: Field with the list of tags, as many.
        label_field: Field of the sentence's own label; None reads none.
        needs_tags: Whether a row without tags, or without a label that is asked for, is bad; otherwise they are None.
        rejects: Where bad rows are counted, and how many are put up with; none if not given.
    """

    def parse(row: dict[str, Any], place: str) -> TaggedExample:
        words = _strings(row, words_field)
        if not words or not all(word.strip() for word in words):
            raise BadRowError(EMPTY, f"'{words_field}' has no word, or an empty one")
        label = None if label_field is None else label_text(row.get(label_field))
        if label_field is not None and needs_tags and not label:
            required(row, label_field)
            raise BadRowError(NOT_TEXT, f"'{label_field}' must be a string that is not empty, or a number")
        if not needs_tags and row.get(tags_field) is None:
            return TaggedExample(words, None, place, label)
        tags = _strings(row, tags_field)
        if len(tags) != len(words):
            raise BadRowError(
                OTHER_LENGTH, f"{len(words)} words in '{words_field}', {len(tags)} tags in '{tags_field}'"
            )
        return TaggedExample(words, tags, place, label)

    return read_labelled(path, parse, rejects=rejects)


def _strings(row: dict[str, Any], name: str) -> tuple[str, ...]:
    value = required(row, name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadRowError(NOT_TEXT, f"'{name}' must be a list of strings")
    return tuple(value)
