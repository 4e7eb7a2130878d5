"""Documents to token ids on several processes, in order, in bounded memory.

The parent reads and writes, workers tokenize; only a few batches are on their way at any time. What a document becomes
depends on its text alone, so the result is the same for any number of processes.
"""

import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Literal, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from electrify.config import CleaningConfig
from electrify.data.cleaning import Cleaner, CleaningCounts
from electrify.data.minhash import NO_SIGNATURES, MinHash
from electrify.data.packing import segment_document
from electrify.data.sources import Document
from electrify.data.tokenizer import Tokenizer
from electrify.errors import DataError

Pack = Literal["dense", "pieces", "segments"]
T = TypeVar("T")

_BATCH_LETTERS = 1 << 19
_BATCH_DOCUMENTS = 1 << 12
_UNIT_LETTERS = 1 << 16
_BATCHES_PER_PROCESS = 3
_SEGMENT_SEED = 1


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Consecutive documents as token ids."""

    token_ids: NDArray[np.uint32]  # of all documents, one after another
    document_lengths: NDArray[np.int64]  # (D,) tokens of each
    is_validation: NDArray[np.bool_]  # (D,) whether the hash of its text puts it into the validation part
    rows_per_document: NDArray[np.int64]  # (D,) zeros unless packed as segments
    row_lengths: NDArray[np.int64]  # (R, 2) length_a and length_b of each row; empty unless packed as segments
    text_hashes: NDArray[np.uint64]  # (D,) of the texts as they are used; equal for equal texts
    num_letters: NDArray[np.int64]  # (D,)
    compression_bins: NDArray[np.int8]  # (D,) as in `CleaningCounts.compression`; -1 where it was not measured
    places: list[str]  # where each of the D was read, as `path:row`
    num_without_tokens: int  # documents of which no token was left; they are not among the D
    num_cut: int  # tokens that did not fit into segments
    cleaning: CleaningCounts  # repairs and removals
    signatures: NDArray[np.uint64]  # (D, values of `data.minhash`); (0, …) unless asked for


@dataclass(frozen=True, slots=True)
class DocumentEncoder:
    """Clean and tokenize documents and prepare them for packing."""

    tokenizer: Tokenizer
    pack: Pack
    max_length: int
    validation_share: float
    cleaner: Cleaner | None = None
    minhash: MinHash | None = None  # signs the documents for the search of near-duplicates

    def __call__(self, documents: Sequence[Document]) -> EncodedBatch:
        """Encode one batch; documents that the cleaner removes or that have no tokens are left out and counted."""
        cleaning = CleaningCounts()
        if self.cleaner:
            documents = self.cleaner.clean(documents, cleaning)
        token_ids: list[NDArray[np.uint32]] = []
        lengths: list[int] = []
        kept: list[Document] = []
        rows_per_document: list[int] = []
        row_lengths: list[tuple[int, int]] = []
        num_cut = 0
        for document, parts in zip(documents, self._encode_parts(documents), strict=True):
            if not any(map(len, parts)):
                continue
            if self.pack == "segments":
                seed = xxhash.xxh3_64_intdigest(document.text.encode(), seed=_SEGMENT_SEED)
                sentences = [part.tolist() for part in parts]
                segments = segment_document(sentences, max_length=self.max_length, seed=seed)
                parts = [np.array(segments.token_ids, dtype=np.uint32)]
                rows_per_document.append(len(segments.lengths))
                row_lengths += segments.lengths
                num_cut += segments.num_cut
            elif self.pack == "dense":
                parts = [*parts, np.array([self.tokenizer.sep_id], dtype=np.uint32)]
            token_ids += parts
            lengths.append(sum(map(len, parts)))
            kept.append(document)
        hashes = np.array([hash_text(one.text) for one in kept], dtype=np.uint64)
        return EncodedBatch(
            token_ids=np.concatenate(token_ids) if token_ids else np.zeros(0, np.uint32),
            document_lengths=np.array(lengths, dtype=np.int64),
            is_validation=np.array([is_held_out(int(one), self.validation_share) for one in hashes], dtype=np.bool_),
            rows_per_document=np.array(rows_per_document or [0] * len(lengths), dtype=np.int64),
            row_lengths=np.array(row_lengths, dtype=np.int64).reshape(-1, 2),
            text_hashes=hashes,
            num_letters=np.array([len(one.text) for one in kept], dtype=np.int64),
            compression_bins=np.array([one.compression_bin for one in kept], dtype=np.int8),
            places=[one.place for one in kept],
            num_without_tokens=len(documents) - len(lengths),
            num_cut=num_cut,
            cleaning=cleaning,
            signatures=self.minhash.sign([one.text for one in kept]) if self.minhash else NO_SIGNATURES,
        )

    def _encode_parts(self, documents: Sequence[Document]) -> list[list[NDArray[np.uint32]]]:
        """Return each document as token ids of its parts: its lines for segments, else stretches of bounded length."""
        is_by_line = self.pack == "segments"
        parts = [one.text.split("\n") if is_by_line else _stretches(one.text) for one in documents]
        flat = [part for document_parts in parts for part in document_parts]
        ids = iter([ids for group in _groups(flat, len) for ids in self.tokenizer.encode_corpus(group)])
        return [[next(ids) for _ in document_parts] for document_parts in parts]


def hash_text(document: str) -> int:
    """Return 64 bits that stand for a text."""
    return xxhash.xxh3_64_intdigest(document.encode())


def is_held_out(text_hash: int, share: float) -> bool:
    """Tell from the text's hash whether a document belongs to the validation part; equal texts always go together.

    Args:
        text_hash: Of 64 bits.
        share: Expected share of documents for which the answer is yes, in [0, 1].
    """
    return text_hash < share * 2**64


def _stretches(document: str) -> list[str]:
    """Cut a long text before white space: the tokenizer needs a hundred times the memory of what it gets at once."""
    stretches = []
    start = 0
    while len(document) - start > _UNIT_LETTERS:
        border = _WHITE_SPACE.search(document, start + _UNIT_LETTERS)
        if border is None:
            break
        stretches.append(document[start : border.start()])
        start = border.start()
    return [*stretches, document[start:]]


_WHITE_SPACE = re.compile(r"[ \t\r\n]")  # every tokenizer cuts here; at other control characters BERT's does not


def _groups(items: Iterable[T], letters_of: Callable[[T], int]) -> Iterator[list[T]]:
    group: list[T] = []
    num_letters = 0
    for item in items:
        group.append(item)
        num_letters += letters_of(item)
        if num_letters >= _BATCH_LETTERS or len(group) >= _BATCH_DOCUMENTS:
            yield group
            group, num_letters = [], 0
    if group:
        yield group


def encode_documents(
    documents: Iterable[Document], encoder: DocumentEncoder, *, processes: int
) -> Iterator[EncodedBatch]:
    """Encode documents in order.

    Args:
        documents: Read only a few batches ahead.
        encoder: What is done with each batch.
        processes: Worker processes; 1 works in this one.

    Raises:
        DataError: If a worker died.
    """
    batches = _groups(documents, lambda document: len(document.text))
    if processes == 1:
        yield from map(encoder, batches)
        return
    cleaning = encoder.cleaner.config if encoder.cleaner else None
    rows = (encoder.pack, encoder.max_length, encoder.validation_share)
    settings = (encoder.tokenizer.to_json(), *rows, cleaning, encoder.minhash is not None)
    # "spawn", because a fork of a process with running threads (torch, tokenizers, pyarrow) may hang.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_start_worker, initargs=settings)
    try:
        waiting: deque[Future[EncodedBatch]] = deque()
        for batch in batches:
            waiting.append(pool.submit(_encode_in_worker, batch))
            if len(waiting) >= processes * _BATCHES_PER_PROCESS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            "A worker process ended unexpectedly, most likely for want of memory: use fewer --processes. In a script "
            "of your own, put the call below `if __name__ == '__main__':`."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_worker_encoder: DocumentEncoder | None = None


def _start_worker(
    tokenizer_json: str,
    pack: Pack,
    max_length: int,
    validation_share: float,
    cleaning: CleaningConfig | None,
    is_signing: bool,
) -> None:
    global _worker_encoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one worker, one core
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tokenizer, cleaner = Tokenizer.from_json(tokenizer_json), Cleaner(cleaning) if cleaning else None
    minhash = MinHash() if is_signing else None
    _worker_encoder = DocumentEncoder(tokenizer, pack, max_length, validation_share, cleaner, minhash)


def _end_with_parent() -> None:
    """End this worker when the parent is killed; the pool's workers would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode_in_worker(documents: list[Document]) -> EncodedBatch:
    assert _worker_encoder is not None  # the pool runs the initializer first
    return _worker_encoder(documents)
