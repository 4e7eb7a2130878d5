"""Which documents repeat an earlier one: equal texts, and those that were found to be near-duplicates.

The first of several stays, so what is left out does not depend on how the corpus was dealt to processes.
"""

from collections.abc import Collection
from functools import partial

import numpy as np
from numpy.typing import NDArray

from electrify.data.cleaning import DUPLICATE, NEAR_DUPLICATE, CleaningCounts
from electrify.data.encoding import EncodedBatch
from electrify.data.tokenizer import Tokenizer

_EXCERPT_TOKENS = 60


class DuplicateRemover:
    """Choose the documents that stay, batch after batch in the corpus' order, and count them.

    Args:
        tokenizer: Turns the first tokens of a removed document back into text, for the counts' examples.
        is_removing: Whether equal documents are removed; about 100 bytes of memory are needed for each that stays.
        counts: Where all documents are counted.
    """

    def __init__(self, tokenizer: Tokenizer, *, is_removing: bool, counts: CleaningCounts) -> None:
        self._tokenizer = tokenizer
        self._is_removing = is_removing
        self._counts = counts
        self._seen: set[int] = set()

    def choose(self, batch: EncodedBatch, near_duplicates: Collection[int] = ()) -> NDArray[np.bool_]:
        """Return which documents of a batch stay, (D,) bool.

        Args:
            batch: The documents.
            near_duplicates: Those among them, counted from 0, that were found to be near-duplicates of earlier ones.
        """
        reasons: dict[int, str] = {}
        if self._is_removing:
            for index, text_hash in enumerate(batch.text_hashes.tolist()):
                if text_hash in self._seen:
                    reasons[index] = DUPLICATE
                elif index in near_duplicates:
                    reasons[index] = NEAR_DUPLICATE
                self._seen.add(text_hash)
        stays = np.ones(len(batch.text_hashes), dtype=np.bool_)
        stays[list(reasons)] = False
        ends = np.cumsum(batch.document_lengths)
        for index, reason in reasons.items():
            begin = int(ends[index] - batch.document_lengths[index])
            first_ids = batch.token_ids[begin : min(begin + _EXCERPT_TOKENS, int(ends[index]))].tolist()
            excerpt = partial(self._tokenizer.decode, first_ids)
            self._counts.remove(
                reason,
                int(batch.num_letters[index]),
                batch.places[index],
                excerpt,
                compression_bin=int(batch.compression_bins[index]),
            )
        kept = zip(batch.num_letters[stays].tolist(), batch.compression_bins[stays].tolist(), strict=True)
        for num_letters, compression_bin in kept:
            self._counts.keep(num_letters, compression_bin)
        return stays
