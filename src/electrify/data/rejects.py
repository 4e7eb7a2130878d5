"""Counts of what was read and of what could not be used, so that nothing is dropped silently.

Bad records are counted by kind, the first few of each kind are remembered with their place, and reading fails if their
share is higher than allowed.
"""

from collections import Counter
from typing import Any

from electrify.errors import DataError

NOT_UTF8 = "not UTF-8"
BROKEN_JSON = "broken JSON"
BROKEN_ROW = "broken row"
MISSING_FIELD = "missing field"
NOT_TEXT = "not a text"
EMPTY = "empty"
TOO_LONG = "too long"
DAMAGED_FILE = "damaged file"

_EXAMPLES_PER_KIND = 3
_HOPELESS_RECORDS = 1_000


class Rejects:
    """Running counts of good and bad records.

    Attributes:
        num_good: Records that were kept.
        num_bytes: Size of the kept texts, in bytes of UTF-8.
        counts: Bad records by kind.
    """

    def __init__(self, max_bad_share: float = 0.01) -> None:
        self.max_bad_share = max_bad_share
        self.num_good = 0
        self.num_bytes = 0
        self.counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    @property
    def num_bad(self) -> int:
        """Number of bad records of all kinds."""
        return self.counts.total()

    @property
    def bad_share(self) -> float:
        """Share of bad records among all records so far; 0 before the first."""
        return self.num_bad / max(1, self.num_bad + self.num_good)

    def keep(self, num_bytes: int) -> None:
        """Count one good record of this size."""
        self.num_good += 1
        self.num_bytes += num_bytes

    def add(self, kind: str, place: str, detail: str = "") -> None:
        """Count one bad record.

        Args:
            kind: What is wrong, one of the constants of this module.
            place: Where, as `path:line`.
            detail: What helps to mend it; shown for the first of its kind.

        Raises:
            DataError: If already more than 1,000 records are bad, and more than half of all.
        """
        self.counts[kind] += 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES_PER_KIND:
            examples.append(f"{place}: {detail}" if detail and not examples else place)
        if self.num_bad > _HOPELESS_RECORDS and self.bad_share > max(0.5, self.max_bad_share):
            self.check()

    def check(self) -> None:
        """Stop if too much is bad; called when everything has been read.

        Raises:
            DataError: If the share of bad records is above `max_bad_share`.
        """
        if self.bad_share > self.max_bad_share:
            allowed = f", more than --max-bad-share {self.max_bad_share:g} allows" if self.max_bad_share else ""
            remedy = "Mend them, or raise it to leave them out." if self.max_bad_share else "Mend or remove them."
            raise DataError(
                f"{self.num_bad:,} of {self.num_bad + self.num_good:,} records ({self.bad_share:.1%}) cannot be used"
                f"{allowed}: {self.describe()}. {remedy}"
            )

    def merge(self, other: "Rejects") -> None:
        """Add the counts of a later part of the corpus."""
        self.num_good += other.num_good
        self.num_bytes += other.num_bytes
        self.counts.update(other.counts)
        for kind, examples in other._examples.items():
            mine = self._examples.setdefault(kind, [])
            mine += examples[: _EXAMPLES_PER_KIND - len(mine)]

    def to_json(self) -> dict[str, Any]:
        """Return all counts as plain values."""
        return {
            "num_good": self.num_good,
            "num_bytes": self.num_bytes,
            "counts": dict(self.counts),
            "examples": self._examples,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Rejects":
        """Return the counts that `to_json` wrote."""
        rejects = cls()
        rejects.num_good, rejects.num_bytes = values["num_good"], values["num_bytes"]
        rejects.counts, rejects._examples = Counter(values["counts"]), values["examples"]
        return rejects

    def describe(self) -> str:
        """Return the counts by kind with the first places, on one line; empty if nothing was rejected."""
        parts = []
        for kind, count in self.counts.most_common():
            examples = self._examples[kind]
            more = ", …" if count > len(examples) else ""
            parts.append(f"{count:,} {kind} ({', '.join(examples)}{more})")
        return "; ".join(parts)
