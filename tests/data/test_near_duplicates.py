import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from datatrove.data import Document

from electrify.data import near_duplicates
from electrify.data.executors import _silence
from electrify.data.near_duplicates import NUM_BANDS, Signatures, Words, matches, repeats

DRAW = random.Random(0)
VOCABULARY = [f"word{number}" for number in range(2_000)]


def text(num_words: int = 300) -> str:
    return " ".join(DRAW.choices(VOCABULARY, k=num_words))


def edited(original: str, share: float) -> str:
    return " ".join(DRAW.choice(VOCABULARY) if DRAW.random() < share else word for word in original.split())


def found(folder: Path, tasks: Iterable[list[str]]) -> dict[int, list[int]]:
    _silence()
    tasks = list(tasks)
    for rank, texts in enumerate(tasks):
        Signatures(folder / "signatures").run((Document(text=one, id="") for one in texts), rank, len(tasks))
    for band in range(NUM_BANDS):
        matches(folder / "signatures", folder / "pairs").run(None, band, NUM_BANDS)
    return {rank: documents.tolist() for rank, documents in repeats(folder / "pairs").items()}


def test_the_first_of_like_documents_stays_and_tasks_do_not_matter(tmp_path: Path) -> None:
    a, b, c = text(), text(), text()
    documents = [a, b, edited(a, 0.01), c, b.upper(), f"{a}!"]
    assert found(tmp_path / "one", [documents]) == {0: [2, 4, 5]}
    assert found(tmp_path / "three", [documents[:2], documents[2:5], documents[5:]]) == {1: [0, 2], 2: [0]}


def test_unlike_documents_stay(tmp_path: Path) -> None:
    originals = [text() for _ in range(60)]
    assert found(tmp_path, [[*originals, *(edited(one, 0.3) for one in originals)]]) == {}


def test_most_lightly_edited_copies_are_found(tmp_path: Path) -> None:
    originals = [text() for _ in range(60)]
    copies = found(tmp_path, [originals, [edited(one, 0.01) for one in originals]])
    assert len(copies[1]) >= 57
    assert 0 not in copies


def test_texts_of_under_five_words_are_never_near_duplicates(tmp_path: Path) -> None:
    assert found(tmp_path, [["a b c d", "a b c d", ""]]) == {}


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_signatures_do_not_depend_on_the_size_of_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    signatures = Signatures(Path("unused"))
    shingles = signatures.get_shingles(text(50))
    expected = signatures.get_signature(shingles)
    monkeypatch.setattr(near_duplicates, "_CHUNK", chunk)
    assert signatures.get_signature(shingles) == expected


def test_share_of_equal_hashes_estimates_the_similarity() -> None:
    signatures = Signatures(Path("unused"))
    a = text(2_000)
    b = edited(a, 0.05)
    sets = [set(signatures.get_shingles(one).ravel().tolist()) for one in (a, b)]
    similarity = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    hashes = [np.array(signatures.get_signature(signatures.get_shingles(one))) for one in (a, b)]
    assert abs((hashes[0] == hashes[1]).mean() - similarity) < 0.12  # three standard deviations of 160 hashes


def test_words_are_split_alike_whatever_stands_between_them() -> None:
    words = Words().word_tokenize
    assert words("The cat, the “Dog” — and…") == [b"the", b"cat", b"the", b"dog", b"and"]
    assert words("我爱你") == [letter.encode() for letter in "我爱你"]
    assert words("ÉTÉ\u00a0été") == ["été".encode()] * 2
