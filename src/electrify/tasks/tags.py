"""Tags of words, and the entities that they spell.

Two ways of writing entities are known: BIO ("B-PER I-PER O") and IOBES (one word "S-", the last "E-"). Reading is as
lenient as conlleval's and seqeval's default: an entity begins wherever it cannot be the going-on of the one before. So
a sequence that breaks the rules has the same entities before and after `repair`, which writes it by the rules.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

Scheme = Literal["BIO", "IOBES", "plain"]
Span = tuple[str, int, int]
"""Type, first word, word behind the last."""
OUTSIDE = "O"
_TAG = re.compile(r"([BIES])-(.+)", re.DOTALL)


def find_scheme(labels: Sequence[str]) -> Scheme:
    """Tell how tags are written; "plain" if they are not entities at all, as parts of speech."""
    prefixes = set()
    for label in labels:
        match = _TAG.fullmatch(label)
        if match is None and label != OUTSIDE:
            return "plain"
        if match is not None:
            prefixes.add(match[1])
    if not prefixes:
        return "plain"
    return "IOBES" if prefixes & {"E", "S"} else "BIO"


def read_spans(tags: Sequence[str]) -> list[Span]:
    """Return the entities of a sentence in their order."""
    spans: list[Span] = []
    begun: tuple[str, int] | None = None
    before = OUTSIDE
    for index, tag in enumerate([*tags, OUTSIDE]):
        prefix, name = _parts(tag)
        goes_on = begun is not None and before in "BI" and prefix in "IE" and name == begun[0]
        if begun is not None and not goes_on:
            spans.append((begun[0], begun[1], index))
            begun = None
        if prefix != OUTSIDE and begun is None:
            begun = (name, index)
        before = prefix
    return spans


def write_tags(spans: Sequence[Span], length: int, scheme: Scheme) -> list[str]:
    """Return the tags of a sentence of `length` words with these entities."""
    tags = [OUTSIDE] * length
    for name, start, end in spans:
        tags[start:end] = [f"I-{name}"] * (end - start)
        tags[start] = f"B-{name}"
        if scheme == "IOBES":
            tags[end - 1] = f"E-{name}" if end - start > 1 else f"S-{name}"
    return tags


def with_siblings(labels: Iterable[str], scheme: Scheme) -> set[str]:
    """Return labels with all others that entities of the same types are written with; plain tags as they are.

    A small training part may have no entity of some type that is longer than a word, and so no "I-" of it.
    """
    if scheme == "plain":
        return set(labels)
    types = {name for _, name in map(_parts, labels) if name}
    return {OUTSIDE, *(f"{prefix}-{name}" for name in types for prefix in ("BI" if scheme == "BIO" else "BIES"))}


def repair(tags: Sequence[str], scheme: Scheme) -> tuple[list[str], int]:
    """Return tags that follow the rules with the same entities, and how many had to change; plain tags stay."""
    if scheme == "plain":
        return list(tags), 0
    written = write_tags(read_spans(tags), len(tags), scheme)
    return written, sum(old != new for old, new in zip(tags, written, strict=True))


def _parts(tag: str) -> tuple[str, str]:
    match = _TAG.fullmatch(tag)
    return (match[1], match[2]) if match else (OUTSIDE, "")
