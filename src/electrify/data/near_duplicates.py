"""Near-duplicates: documents that share most of their five-word sequences with an earlier one. Needs `datatrove`.

MinHash with locality-sensitive hashing: 20 bands of 8 hashes (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets,
chapter 3). A pair of Jaccard similarity s is found with probability 1 − (1 − s⁸)²⁰: 98 % at 0.8, 70 % at 0.7, 7 % at
0.5. A document is left out if it shares a band with any earlier one, left out or not.

datatrove's steps write, sort and join the signatures on one machine or on a cluster. The signatures are ours
(`data.minhash`), made where documents are encoded: datatrove's word splitters have to be downloaded, it hashes each
sequence as a string, which is slow, and it holds all hashes of all sequences of a document at once (gigabytes for the
longest ones).
"""

from pathlib import Path
from typing import Any

import numpy as np
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.hashing import HashConfig
from datatrove.utils.word_tokenizers import WordTokenizer
from numpy.typing import NDArray

from electrify.data.minhash import BAND_HASHES, NO_VALUE, NUM_BANDS, NUM_WORDS


class _NoWords(WordTokenizer):  # type: ignore[misc]
    """What datatrove's step must be given, and is never asked here."""

    def word_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError


class Signatures(MinhashDedupSignature):  # type: ignore[misc]
    """datatrove's first MinHash step for signatures that are there: it numbers, writes and sorts them.

    It takes the `text` of each document through the two methods below; here that is the signature (`pieces.Signed`).

    Args:
        folder: Where the signatures are written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), config=_config(), language=_NoWords())

    def get_shingles(self, text: Any) -> NDArray[np.uint64]:
        """Return a signature, or nothing if it has no values, so that it is not written."""
        signature: NDArray[np.uint64] = text
        return signature[:0] if signature[0] == NO_VALUE else signature

    def get_signature(self, shingles: NDArray[np.uint64]) -> list[list[int]]:
        """Return a signature by bands."""
        return shingles.reshape(NUM_BANDS, BAND_HASHES).tolist()


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
        n_grams=NUM_WORDS, num_buckets=NUM_BANDS, hashes_per_bucket=BAND_HASHES, hash_config=HashConfig(precision=64)
    )
