"""Encoded documents of one task on their way to the shards, and the task that makes them.

A corpus is dealt to tasks as stretches of consecutive files. A task reads, cleans and encodes its documents into one
file; whoever assembles the shards reads the files one after another, and so sees what one process would have made.

`00000.piece` holds batches of documents, each as eight NumPy arrays one after another: of numbers (the places of the
documents as UTF-8), so nothing is pickled or, when they are read, unpickled. `00000.json` holds the counts and appears
last, so a task that was killed leaves nothing that looks finished.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from electrify.config import CleaningConfig
from electrify.data.cleaning import Cleaner, CleaningCounts
from electrify.data.encoding import DocumentEncoder, EncodedBatch, Pack, encode_documents
from electrify.data.minhash import NO_SIGNATURES, MinHash
from electrify.data.rejects import Rejects
from electrify.data.shards import Part
from electrify.data.sources import SourceOptions, read_placed_documents
from electrify.data.tokenizer import Tokenizer
from electrify.files import read_json, write_json

_ARRAYS = (
    "token_ids",
    "document_lengths",
    "is_validation",
    "rows_per_document",
    "row_lengths",
    "text_hashes",
    "num_letters",
    "compression_bins",
)

_BETWEEN_PLACES = "\0"  # the one letter that no path has


@dataclass(frozen=True, slots=True)
class PieceCounts:
    """What a task read and left out."""

    rejects: Rejects
    cleaning: CleaningCounts
    num_without_tokens: int
    num_cut: int


@dataclass(frozen=True, slots=True)
class Signed:
    """What the step of near-duplicates reads of a document, under the name that datatrove gives to it."""

    text: NDArray[np.uint64]


@dataclass(frozen=True)
class MakePiece:
    """The task, as datatrove calls its pipeline's steps; can be sent to another process or machine.

    Attributes:
        folder: Where the pieces go; all machines see it.
        stretches: The files of each task and the part they belong to.
        tokenizer_json: Content of the tokenizer's `tokenizer.json`.
        pack: How rows are cut.
        max_length: Tokens of a row.
        validation_share: Share of the documents of the training files that are held out.
        cleaning: What is repaired and left out.
        options: How documents are found.
        yields_signatures: Whether a step behind this one, that of near-duplicates, is given the documents' signatures.
        processes: That encode the documents of one task.
    """

    folder: Path
    stretches: list[tuple[Part, list[Path]]]
    tokenizer_json: str
    pack: Pack
    max_length: int
    validation_share: float
    cleaning: CleaningConfig
    options: SourceOptions
    yields_signatures: bool
    processes: int = 1

    def __call__(self, data: Any, rank: int, world_size: int) -> Iterator[Any]:  # noqa: ARG002 - a step's signature
        """Make one piece and yield the signatures of its documents, if that is asked for.

        Args:
            data: What the step before yields; there is none.
            rank: Number of the task.
            world_size: Number of tasks.

        Raises:
            DataError: If a file cannot be read, or is hopeless.
        """
        part, files = self.stretches[rank]
        share = 1.0 if part == "validation" else self.validation_share
        minhash = MinHash() if self.yields_signatures else None
        tokenizer, cleaner = Tokenizer.from_json(self.tokenizer_json), Cleaner(self.cleaning)
        encoder = DocumentEncoder(tokenizer, self.pack, self.max_length, share, cleaner, minhash)
        rejects = Rejects(1.0)  # whether it was too much is decided over the whole corpus
        cleaning, num_without_tokens, num_cut = CleaningCounts(), 0, 0
        options = replace(self.options, max_bad_share=1.0)
        label = f"Preparing {part}, {rank + 1} of {world_size}"
        documents = read_placed_documents(files, options, rejects, label=label)
        with piece_path(self.folder, rank).open("wb") as file:
            for batch in encode_documents(documents, encoder, processes=self.processes):
                _write_batch(file, batch)
                cleaning.add(batch.cleaning)
                num_without_tokens += batch.num_without_tokens
                num_cut += batch.num_cut
                yield from map(Signed, batch.signatures)
        counts = {
            "rejects": rejects.to_json(),
            "cleaning": cleaning.to_json(),
            "num_without_tokens": num_without_tokens,
            "num_cut": num_cut,
        }
        write_json(piece_path(self.folder, rank).with_suffix(".json"), counts)


def piece_path(folder: Path, rank: int) -> Path:
    """Return the file of a task's documents."""
    return folder / f"{rank:05}.piece"


def read_counts(folder: Path, rank: int) -> PieceCounts:
    """Return what a finished task read and left out.

    Raises:
        DataError: If the task is not finished.
    """
    values = read_json(piece_path(folder, rank).with_suffix(".json"))
    return PieceCounts(
        Rejects.from_json(values["rejects"]),
        CleaningCounts.from_json(values["cleaning"]),
        values["num_without_tokens"],
        values["num_cut"],
    )


def read_piece(folder: Path, rank: int) -> Iterator[EncodedBatch]:
    """Yield the batches of a finished task; their counts are 0, since those of the whole piece are in `read_counts`."""
    path = piece_path(folder, rank)
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size_bytes:
            arrays = {name: np.lib.format.read_array(file) for name in _ARRAYS}
            places = np.lib.format.read_array(file).tobytes().decode(errors="surrogateescape")
            yield EncodedBatch(
                **arrays,
                places=places.split(_BETWEEN_PLACES)[: len(arrays["num_letters"])],
                num_without_tokens=0,
                num_cut=0,
                cleaning=CleaningCounts(),
                signatures=NO_SIGNATURES,
            )


def _write_batch(file: BinaryIO, batch: EncodedBatch) -> None:
    for name in _ARRAYS:
        np.lib.format.write_array(file, getattr(batch, name))
    places = _BETWEEN_PLACES.join(batch.places).encode(errors="surrogateescape")
    np.lib.format.write_array(file, np.frombuffer(places, dtype=np.uint8))
