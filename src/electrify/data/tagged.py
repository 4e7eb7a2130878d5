"""Sentences as words with one tag each, for tagging."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from electrify.data.labelled import BadRowError, read_labelled, required
from electrify.data.rejects import EMPTY, NOT_TEXT, Rejects

OTHER_LENGTH = "tags of another number"


@dataclass(frozen=True, slots=True)
class TaggedExample:
    """Words and their tags."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    place: str = field(default="", compare=False)
    """Where it was read, as `path:row`."""


def read_tagged(
    path: str | Path,
    *,
    words_field: str = "tokens",
    tags_field: str = "tags",
    needs_tags: bool = True,
    rejects: Rejects | None = None,
) -> list[TaggedExample]:
    """Read tagged sentences.

    Args:
        path: See `labelled.read_labelled`, as for the errors.
        words_field: Field with the list of words.
        tags_field: Field with the list of tags, as many.
        needs_tags: Whether a row without tags is bad; otherwise its tags are None.
        rejects: Where bad rows are counted, and how many are put up with; none if not given.
    """

    def parse(row: dict[str, Any], place: str) -> TaggedExample:
        words = _strings(row, words_field)
        if not words or not all(word.strip() for word in words):
            raise BadRowError(EMPTY, f"'{words_field}' has no word, or an empty one")
        if not needs_tags and row.get(tags_field) is None:
            return TaggedExample(words, None, place)
        tags = _strings(row, tags_field)
        if len(tags) != len(words):
            raise BadRowError(
                OTHER_LENGTH, f"{len(words)} words in '{words_field}', {len(tags)} tags in '{tags_field}'"
            )
        return TaggedExample(words, tags, place)

    return read_labelled(path, parse, rejects=rejects)


def _strings(row: dict[str, Any], name: str) -> tuple[str, ...]:
    value = required(row, name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadRowError(NOT_TEXT, f"'{name}' must be a list of strings")
    return tuple(value)
