"""Near-duplicates: documents that share most of their five-word sequences with an earlier one. Needs `datatrove`.

MinHash with locality-sensitive hashing: 20 bands of 8 hashes (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets,
chapter 3). A pair of Jaccard similarity s is found with probability 1 − (1 − s⁸)²⁰: 98 % at 0.8, 70 % at 0.7, 7 % at
0.5. A document is left out if it shares a band with any earlier one, left out or not.

datatrove's steps write, sort and join the signatures on one machine or on a cluster. Words and hashes are ours: its
word splitters have to be downloaded, it hashes each sequence as a string, which is slow, and it holds all hashes of all
sequences of a document at once (gigabytes for the longest ones).
"""

import re
from pathlib import Path

import numpy as np
import xxhash
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.hashing import HashConfig
from datatrove.utils.word_tokenizers import WordTokenizer
from numpy.typing import NDArray

NUM_BANDS = 20

_BAND_HASHES = 8
_WORDS = 5
_SEED = 1
_CHUNK = 128  # times the hashes: what stays in a core's own cache
_MAX_KNOWN_WORDS = 1 << 19
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # a word each: their languages have no spaces
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
_MARKS = "“”‘’„«»…–—\xa0"
_ASCII = bytes(code if chr(code).isalnum() or code > 127 else 32 for code in range(256))  # punctuation to spaces
_ODD = np.uint64(0x9E3779B97F4A7C15)  # Steele, Lea, Flood 2014 (SplitMix64), and the two factors below
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Words(WordTokenizer):  # type: ignore[misc]
    """Split a text into words in small letters, at white space and punctuation and around ideographs."""

    def word_tokenize(self, text: str) -> list[bytes]:
        """Return the words as UTF-8; no regular expression goes over the letters, which would cost most of the time."""
        text = text.lower()
        if not text.isascii():
            for mark in _MARKS:
                text = text.replace(mark, " ")
            if _IDEOGRAPH.search(text):
                text = _IDEOGRAPH.sub(r" \g<0> ", text)
        return text.encode(errors="surrogatepass").translate(_ASCII).split()

    def sent_tokenize(self, text: str) -> list[str]:
        """Not needed for MinHash."""
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Not needed for MinHash."""
        raise NotImplementedError


class _WordHashes(dict[bytes, int]):
    def __missing__(self, word: bytes) -> int:
        if len(self) >= _MAX_KNOWN_WORDS:
            self.clear()
        self[word] = xxhash.xxh3_64_intdigest(word)
        return self[word]


class Signatures(MinhashDedupSignature):  # type: ignore[misc]
    """datatrove's first MinHash step, with our words and hashes.

    Args:
        folder: Where the signatures are written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), config=_config(), language=Words())
        self._hashes = _WordHashes()
        draw = np.random.Generator(np.random.Philox(key=_SEED))
        self._factors, self._offsets = draw.integers(0, 2**64, (2, 1, NUM_BANDS * _BAND_HASHES), dtype=np.uint64)
        self._factors |= np.uint64(1)

    def get_shingles(self, text: str) -> NDArray[np.uint64]:
        """Return a hash of each sequence of five words, (N, 1); none for fewer words, which can only be equal."""
        words = self.word_tokenizer.word_tokenize(text)
        hashes = np.fromiter(map(self._hashes.__getitem__, words), dtype=np.uint64, count=len(words))
        num_sequences = max(0, len(words) - _WORDS + 1)
        mixed = np.zeros(num_sequences, dtype=np.uint64)
        for place in range(_WORDS):
            mixed = mixed * _ODD + hashes[place : place + num_sequences]
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
        return (mixed ^ (mixed >> np.uint64(31))).reshape(-1, 1)

    def get_signature(self, shingles: NDArray[np.uint64]) -> list[list[int]]:
        """Return the smallest value of each hash function over the sequences, by band."""
        smallest = np.full(self._factors.shape[1], np.iinfo(np.uint64).max, dtype=np.uint64)
        for start in range(0, len(shingles), _CHUNK):
            values = shingles[start : start + _CHUNK] * self._factors + self._offsets  # (n, hashes), modulo 2**64
            np.minimum(smallest, values.min(axis=0), out=smallest)
        return (smallest >> np.uint64(3)).reshape(NUM_BANDS, _BAND_HASHES).tolist()  # datatrove's are below 2**61


def matches(signatures: Path, pairs: Path) -> MinhashDedupBuckets:
    """Return datatrove's second MinHash step: one task a band finds documents with the same values in it."""
    return MinhashDedupBuckets(str(signatures), str(pairs), config=_config())


def repeats(pairs: Path) -> dict[int, NDArray[np.uint32]]:
    """Return, for each task of the first step, which of its documents (rising) match an earlier document."""
    found = [np.fromfile(path, dtype="<u4").reshape(-1, 4)[:, 2:] for path in sorted(pairs.glob("*.dups"))]
    later = np.unique(np.concatenate([np.zeros((0, 2), "<u4"), *found]), axis=0)  # (task, document)
    return {int(task): later[later[:, 0] == task, 1] for task in np.unique(later[:, 0])}


def _config() -> MinhashConfig:
    return MinhashConfig(
        n_grams=_WORDS, num_buckets=NUM_BANDS, hashes_per_bucket=_BAND_HASHES, hash_config=HashConfig(precision=64)
    )
