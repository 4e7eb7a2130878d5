import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from electrify.data import minhash
from electrify.data.executors import _silence
from electrify.data.minhash import NUM_BANDS, MinHash, split_words
from electrify.data.near_duplicates import Signatures, matches, repeats
from electrify.data.pieces import Signed

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
        Signatures(folder / "signatures").run(map(Signed, MinHash().sign(texts)), rank, len(tasks))
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
    texts = [text(50), text(3), text(20)]
    expected = MinHash().sign(texts)
    assert (expected[1] == minhash.NO_VALUE).all()
    assert (expected[[0, 2]] < minhash.NO_VALUE).all()
    monkeypatch.setattr(minhash, "_CHUNK", chunk)
    assert (MinHash().sign(texts) == expected).all()


def test_share_of_equal_hashes_estimates_the_similarity() -> None:
    a = text(2_000)
    b = edited(a, 0.05)
    sets = [set(MinHash().hash_sequences(one).tolist()) for one in (a, b)]
    similarity = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    first, second = MinHash().sign([a, b])
    assert abs((first == second).mean() - similarity) < 0.12  # three standard deviations of 160 hashes


def test_words_are_split_alike_whatever_stands_between_them() -> None:
    assert split_words("The cat, the “Dog” — and…") == [b"the", b"cat", b"the", b"dog", b"and"]
    assert split_words("我爱你") == [letter.encode() for letter in "我爱你"]
    assert split_words("ÉTÉ\u00a0été") == ["été".encode()] * 2
