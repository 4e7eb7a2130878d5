import json
import random

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electrify.config import CleaningConfig
from electrify.data.cleaning import (
    Cleaner,
    CleaningCounts,
    compressed_share,
    repeated_line_share,
    repeated_ngram_share,
    symbol_share,
)
from electrify.data.sources import Document
from electrify.errors import ConfigError

PROSE = "The river rises in the hills, where it rains for most of the year, and reaches the sea after three days."
LONG = f"{PROSE} Nobody knows who named it; the oldest maps leave its valley blank, and younger ones borrow a word \
from the shepherds which means nothing but water. Boats go up as far as the second bridge."


def clean(documents: list[str], **settings: object) -> tuple[list[str], CleaningCounts]:
    counts = CleaningCounts()
    placed = [Document(text, f"corpus:{row}") for row, text in enumerate(documents, start=1)]
    return [one.text for one in Cleaner(CleaningConfig.model_validate(settings)).clean(placed, counts)], counts


@pytest.mark.parametrize(
    ("settings", "good", "bad", "reason"),
    [
        ({"min_letters": 5}, "abcde", "abcd", "too short"),
        ({"max_letters": 5}, "abcde", "abcdef", "too long"),
        ({"max_symbol_share": 0.25}, "abc!", "ab!!", "too many symbols"),
        ({"max_repeated_line_share": 0.5}, "ab\nab", "ab\nab\nab", "repeated lines"),
        ({"max_repeated_ngram_share": 0.2}, "a b c d e f a b c d", "a b c d e " * 3, "repeated phrases"),
        ({"languages": ["en"]}, PROSE, "Der Fluss entspringt in den Bergen, wo es oft regnet.", "other language"),
        ({"min_compressed_share": 0.3}, LONG, "abc " * 100, "too compressible"),
        ({"max_compressed_share": 0.8}, LONG, bytes(random.Random(0).choices(range(33, 126), k=400)).decode(),
         "too little compressible"),
    ],
)  # fmt: skip
def test_each_filter_takes_what_it_should(settings: dict[str, object], good: str, bad: str, reason: str) -> None:
    kept, counts = clean([good, bad, good], **settings)
    assert kept == [good, good]
    assert counts.removed == {reason: 1}
    assert counts.examples == {reason: [{"place": "corpus:2", "begins": bad[:200]}]}


def test_nothing_is_touched_unless_asked_for() -> None:
    documents = ["x", "!!!!", "a\na\na\na", "sÃ¼Ã\x9f", PROSE * 100]
    kept, counts = clean(documents)
    assert kept == documents
    assert not counts.removed
    assert counts.num_repaired == 0


def test_repair_comes_before_the_filters_and_is_counted() -> None:
    kept, counts = clean(["sÃ¼ÃŸ &amp; gut", "plain", "\x1b[0m\x07"], repair=True, min_letters=3)
    assert kept == ["süß & gut", "plain"]
    assert counts.num_repaired == 2
    assert counts.removed == {"too short": 1}


@given(st.text(st.characters(max_codepoint=127)) | st.text())
def test_repair_is_that_of_ftfy(text: str) -> None:
    kept, _ = clean([text], repair=True)
    fixed = ftfy.fix_text(text, uncurl_quotes=False).strip()
    assert kept == ([fixed] if fixed else []) or (text == "" and kept == [])


@given(st.text())
def test_shares_are_shares(text: str) -> None:
    for share in (symbol_share(text), repeated_line_share(text), repeated_ngram_share(text)):
        assert 0 <= share <= 1
    assert (compressed_share(text) is None) == (len(text.encode()) < 256)


def test_marks_on_letters_are_no_symbols() -> None:
    assert symbol_share("नमस्ते दुनिया") == 0
    assert symbol_share("a+b=c") == pytest.approx(0.4)


def test_repeated_words_count_once_where_sequences_overlap() -> None:
    assert repeated_ngram_share("a " * 10) == pytest.approx(0.9)  # all but the first of the first sequence
    assert repeated_ngram_share("a b c d e f g a b c d e h") == pytest.approx(5 / 13)


def test_unknown_language_is_named() -> None:
    with pytest.raises(ConfigError, match="'klingon' is not among"):
        clean([], languages=["klingon"])


def test_counts_of_parts_add_up_and_survive_being_written() -> None:
    documents = [PROSE * 3, "x", "y", "z", "w", "ab!!" * 100]
    settings = {"min_letters": 2, "max_symbol_share": 0.3, "min_compressed_share": 0.01}
    _, whole = clean(documents, **settings)
    parts = CleaningCounts()
    for part in (documents[:2], documents[2:]):
        _, counts = clean(part, **settings)
        parts.add(CleaningCounts.from_json(json.loads(json.dumps(counts.to_json()))))
    assert parts.removed == whole.removed
    assert (parts.lengths, parts.compression) == (whole.lengths, whole.compression)
    assert [one["begins"] for one in whole.examples["too short"]] == ["x", "y", "z"]
