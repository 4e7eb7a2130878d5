"""Text repair and filters on single documents, all optional; what is left out is counted by reason, with examples.

A document meets the filters in the order of `CleaningConfig` and counts for the first that it fails. What becomes of it
depends on its text alone. Sources: repeated lines and n-grams after Rae et al. 2021 (Gopher), table A1; repair is
`ftfy`'s, languages are `py3langid`'s.
"""

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from electrify.config import CleaningConfig
from electrify.data.sources import Document
from electrify.errors import ConfigError, ElectrifyError

DUPLICATE = "exact duplicate"
NEAR_DUPLICATE = "near duplicate"

_EXAMPLES_PER_REASON = 3
_EXCERPT_LETTERS = 200
_LANGUAGE_LETTERS = 2_000  # from the middle; more does not change the guess and costs in proportion
_NGRAM = 5
_COMPRESSION_LEVEL = 1
_MIN_COMPRESSIBLE_BYTES = 256  # below, zlib's own header and tables count more than the text
_SYMBOL = re.compile(r"[^\w\s]")
_WORD = re.compile(r"\w+")
_REPAIR_NEEDED = re.compile(r"[^\t\n\x20-\x25\x27-\x7e]")  # besides these (no "&"), ftfy leaves ASCII as it is
NUM_BINS = 20


@dataclass(slots=True)
class CleaningCounts:
    """What became of the documents; counts of several parts of a corpus can be added up."""

    num_kept: int = 0
    num_repaired: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    """Documents left out, by reason."""
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    """The first few, by reason: "place" as `path:row`, and with what it "begins"."""
    lengths: dict[str, Counter[int]] = field(default_factory=lambda: {"kept": Counter(), "removed": Counter()})
    """Documents by the bits of their number of letters: at n those of 2**(n - 1) to 2**n - 1."""
    compression: dict[str, Counter[int]] = field(default_factory=lambda: {"kept": Counter(), "removed": Counter()})
    """Documents by their compressed share of bytes, in bins of 1 / `NUM_BINS`; empty if it was not asked for."""

    def keep(self, num_letters: int, compression_bin: int = -1) -> None:
        """Count a document that stays; −1 if its compression was not measured."""
        self.num_kept += 1
        if compression_bin >= 0:
            self.compression["kept"][compression_bin] += 1
        self.lengths["kept"][num_letters.bit_length()] += 1

    def remove(
        self,
        reason: str,
        num_letters: int,
        place: str,
        excerpt: str | Callable[[], str],
        *,
        compression_bin: int = -1,
    ) -> None:
        """Count a document that is left out.

        Args:
            reason: Why.
            num_letters: Its length.
            place: Where it was read, as `path:row`.
            excerpt: The text or its beginning, or what gives it; asked only for the first few.
            compression_bin: −1 if its compression was not measured.
        """
        if compression_bin >= 0:
            self.compression["removed"][compression_bin] += 1
        self.removed[reason] += 1
        self.lengths["removed"][num_letters.bit_length()] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES_PER_REASON:
            text = excerpt if isinstance(excerpt, str) else excerpt()
            examples.append({"place": place, "begins": text[:_EXCERPT_LETTERS]})

    def add(self, other: "CleaningCounts") -> None:
        """Add the counts of a later part of the corpus."""
        self.num_kept += other.num_kept
        self.num_repaired += other.num_repaired
        self.removed.update(other.removed)
        for reason, examples in other.examples.items():
            mine = self.examples.setdefault(reason, [])
            mine += examples[: _EXAMPLES_PER_REASON - len(mine)]
        for name in ("kept", "removed"):
            self.lengths[name].update(other.lengths[name])
            self.compression[name].update(other.compression[name])

    def to_json(self) -> dict[str, Any]:
        """Return all counts as plain values, sorted."""
        return {
            "num_kept": self.num_kept,
            "num_repaired": self.num_repaired,
            "removed": dict(sorted(self.removed.items())),
            "examples": dict(sorted(self.examples.items())),
            "lengths": {name: _sorted(counts) for name, counts in self.lengths.items()},
            "compression": {name: _sorted(counts) for name, counts in self.compression.items()},
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CleaningCounts":
        """Return the counts that `to_json` wrote."""
        bins = {
            key: {
                name: Counter({int(at): count for at, count in counts.items()}) for name, counts in values[key].items()
            }
            for key in ("lengths", "compression")
        }
        return cls(
            num_kept=values["num_kept"],
            num_repaired=values["num_repaired"],
            removed=Counter(values["removed"]),
            examples=values["examples"],
            **bins,
        )


def _sorted(counts: Counter[int]) -> dict[str, int]:
    return {str(at): counts[at] for at in sorted(counts)}


class Cleaner:
    """Repair and filter documents.

    Args:
        config: What is asked for.

    Raises:
        ConfigError: If a language is not one that can be told apart.
        ElectrifyError: If a package that a setting needs is not installed.
    """

    def __init__(self, config: CleaningConfig) -> None:
        self.config = config
        self._repair = _repairer() if config.repair else None
        self._language = _language_guesser(config.languages) if config.languages else None

    def clean(self, documents: Sequence[Document], counts: CleaningCounts) -> list[Document]:
        """Return the documents that stay, in order, repaired if that is asked for.

        Args:
            documents: The documents.
            counts: Where repairs and the others are counted; what stays is counted by whoever removes duplicates.
        """
        kept = []
        for document in documents:
            text = self._repair(document.text).strip() if self._repair else document.text
            counts.num_repaired += text != document.text
            share = compressed_share(text) if self._measures_compression else None
            reason = self._reason(text, share)
            compression_bin = -1 if share is None else min(int(share * NUM_BINS), NUM_BINS)
            if reason:
                counts.remove(reason, len(text), document.place, text or document.text, compression_bin=compression_bin)
            else:
                kept.append(Document(text, document.place, compression_bin))
        return kept

    @property
    def _measures_compression(self) -> bool:
        return self.config.min_compressed_share > 0 or self.config.max_compressed_share < 1

    def _reason(self, text: str, share: float | None) -> str | None:
        """Return why a text is left out, None if it stays; cheap questions come first."""
        config = self.config
        if len(text) < max(1, config.min_letters):
            return "too short"
        if config.max_letters is not None and len(text) > config.max_letters:
            return "too long"
        if share is not None and share < config.min_compressed_share:
            return "too compressible"
        if share is not None and share > config.max_compressed_share:
            return "too little compressible"
        if config.max_symbol_share < 1 and symbol_share(text) > config.max_symbol_share:
            return "too many symbols"
        if config.max_repeated_line_share < 1 and repeated_line_share(text) > config.max_repeated_line_share:
            return "repeated lines"
        if config.max_repeated_ngram_share < 1 and repeated_ngram_share(text) > config.max_repeated_ngram_share:
            return "repeated phrases"
        if self._language and self._language(text) not in config.languages:
            return "other language"
        return None


def symbol_share(text: str) -> float:
    """Return the share of letters that are neither alphanumeric nor white space nor marks on letters, in [0, 1]."""
    symbols = Counter(_SYMBOL.findall(text))
    count = sum(number for letter, number in symbols.items() if unicodedata.category(letter)[0] != "M")
    return count / max(1, len(text))


def repeated_line_share(text: str) -> float:
    """Return the share of a text's letters that stand in a line which came before in it, in [0, 1]."""
    seen: set[str] = set()
    num_letters = num_repeated = 0
    for line in text.split("\n"):
        line = line.strip()
        num_letters += len(line)
        num_repeated += len(line) if line in seen else 0
        seen.add(line)
    return num_repeated / max(1, num_letters)


def repeated_ngram_share(text: str) -> float:
    """Return the share of a text's words that stand in a sequence of five words which came before in it, in [0, 1]."""
    words = _WORD.findall(text.lower())
    seen: set[tuple[str, ...]] = set()
    num_repeated, counted_to = 0, 0
    for start in range(len(words) - _NGRAM + 1):
        ngram = tuple(words[start : start + _NGRAM])
        if ngram in seen:
            num_repeated += start + _NGRAM - max(start, counted_to)
            counted_to = start + _NGRAM
        seen.add(ngram)
    return num_repeated / max(1, len(words))


def compressed_share(text: str) -> float | None:
    """Return zlib's compressed size as a share of a text's bytes; None for texts of under 256 bytes.

    Prose has 0.4 to 0.6; boiler-plate and lists have less, random letters and encoded data more.
    """
    raw = text.encode()
    return len(zlib.compress(raw, _COMPRESSION_LEVEL)) / len(raw) if len(raw) >= _MIN_COMPRESSIBLE_BYTES else None


def _repairer() -> Callable[[str], str]:
    try:
        import ftfy
    except ImportError:
        raise ElectrifyError("ftfy is not installed: pip install 'electrify[clean]'.") from None
    config = ftfy.TextFixerConfig(explain=False, uncurl_quotes=False)

    def repair(text: str) -> str:
        return str(ftfy.fix_text(text, config)) if _REPAIR_NEEDED.search(text) else text

    return repair


def _language_guesser(languages: Collection[str]) -> Callable[[str], str]:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise ElectrifyError("py3langid is not installed: pip install 'electrify[clean]'.") from None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    for language in languages:
        if language not in identifier.labels:
            known = ", ".join(sorted(identifier.labels))
            raise ConfigError(f"languages: '{language}' is not among those that are told apart: {known}.")

    def guess(text: str) -> str:
        begin = max(0, (len(text) - _LANGUAGE_LETTERS) // 2)
        return str(identifier.classify(text[begin : begin + _LANGUAGE_LETTERS])[0])

    return guess
