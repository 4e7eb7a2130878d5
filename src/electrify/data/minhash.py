"""MinHash signatures of texts: texts that share most of their five-word sequences share most of their values.

Broder 1997; Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, chapter 3. A value is the smallest of one hash
function over all sequences of a text; two texts have the same one with a probability of their Jaccard similarity.
"""

import re
from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

NUM_BANDS = 20
BAND_HASHES = 8
NUM_WORDS = 5
"""Of a sequence."""
NO_VALUE = np.uint64(2**61 - 1)
"""What a text of fewer words has in place of each value; such texts can only be equal."""

NO_SIGNATURES = np.zeros((0, NUM_BANDS * BAND_HASHES), dtype=np.uint64)

_SEED = 1
_CHUNK = 128  # times the hashes: what stays in a core's own cache
_MAX_KNOWN_WORDS = 1 << 19
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # a word each: their languages have no spaces
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
_MARKS = "“”‘’„«»…–—\xa0"
_ASCII = bytes(code if chr(code).isalnum() or code > 127 else 32 for code in range(256))  # punctuation to spaces
_ODD = np.uint64(0x9E3779B97F4A7C15)  # Steele, Lea, Flood 2014 (SplitMix64), and the two factors below
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def split_words(text: str) -> list[bytes]:
    """Split a text into words in small letters as UTF-8, at white space and punctuation and around ideographs.

    No regular expression goes over the letters, which would cost most of the time.
    """
    text = text.lower()
    if not text.isascii():
        for mark in _MARKS:
            text = text.replace(mark, " ")
        if _IDEOGRAPH.search(text):
            text = _IDEOGRAPH.sub(r" \g<0> ", text)
    return text.encode(errors="surrogatepass").translate(_ASCII).split()


class _WordHashes(dict[bytes, int]):
    def __missing__(self, word: bytes) -> int:
        if len(self) >= _MAX_KNOWN_WORDS:
            self.clear()
        self[word] = xxhash.xxh3_64_intdigest(word)
        return self[word]


class MinHash:
    """The hash functions, and a memory of the hashes of words."""

    def __init__(self) -> None:
        self._hashes = _WordHashes()
        draw = np.random.Generator(np.random.Philox(key=_SEED))
        self._factors, self._offsets = draw.integers(0, 2**64, (2, 1, NUM_BANDS * BAND_HASHES), dtype=np.uint64)
        self._factors |= np.uint64(1)

    def sign(self, texts: Sequence[str]) -> NDArray[np.uint64]:
        """Return the values of each text, (D, NUM_BANDS · BAND_HASHES), below 2**61 or `NO_VALUE`."""
        values = np.full((len(texts), self._factors.shape[1]), np.iinfo(np.uint64).max, dtype=np.uint64)
        for smallest, text in zip(values, texts, strict=True):
            sequences = self.hash_sequences(text)
            for start in range(0, len(sequences), _CHUNK):
                hashes = sequences[start : start + _CHUNK, None] * self._factors + self._offsets  # modulo 2**64
                np.minimum(smallest, hashes.min(axis=0), out=smallest)
        return values >> np.uint64(3)

    def hash_sequences(self, text: str) -> NDArray[np.uint64]:
        """Return a hash of each sequence of five words, (N,); none for fewer words."""
        words = split_words(text)
        hashes = np.fromiter(map(self._hashes.__getitem__, words), dtype=np.uint64, count=len(words))
        num_sequences = max(0, len(words) - NUM_WORDS + 1)
        mixed = np.zeros(num_sequences, dtype=np.uint64)
        for place in range(NUM_WORDS):
            mixed = mixed * _ODD + hashes[place : place + num_sequences]
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
        return mixed ^ (mixed >> np.uint64(31))
