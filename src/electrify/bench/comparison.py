"""What a bench reports when it compares whole commands or calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from electrify.bench.peers import Contender, Missing, versions
from electrify.bench.rounds import Measured, Rounds


@dataclass(frozen=True, slots=True)
class Comparison:
    """Contenders that did the same work in turn; ratios electrify / peer, electrify first."""

    title: str
    unit: str
    """Of the rates, such as "examples/s"."""
    measured: list[Measured]
    missing: list[Missing]
    notes: list[str]
    """What else was found, a sentence each."""
    settings: dict[str, Any]
    versions: dict[str, str]


def compare(
    title: str,
    unit: str,
    done: Rounds,
    *,
    contenders: Sequence[Contender],
    missing: Sequence[Missing],
    settings: dict[str, Any],
    notes: Sequence[str] = (),
) -> Comparison:
    """Return the report of finished rounds."""
    return Comparison(title, unit, done.measured, [*missing, *done.failed], list(notes), settings, versions(contenders))
