"""From files to the two parts of a shard folder: streamed through this machine, or through pieces that tasks make.

Both ways write the same bytes. The validation files come first, so that of a document that stands in both parts the one
to train on is left out.
"""

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from electrify.config import CleaningConfig, ExecutorConfig
from electrify.data.cleaning import CleaningCounts
from electrify.data.duplicates import DuplicateRemover
from electrify.data.encoding import DocumentEncoder, EncodedBatch, encode_documents
from electrify.data.executors import Step, run_here, run_tasks
from electrify.data.minhash import NUM_BANDS
from electrify.data.pieces import MakePiece, read_counts, read_piece
from electrify.data.rejects import Rejects
from electrify.data.shard_writer import ShardWriter
from electrify.data.shards import PARTS, Part, token_dtype
from electrify.data.sources import SourceOptions, read_placed_documents
from electrify.errors import DataError, ElectrifyError
from electrify.files import read_json, write_json

_NONE = np.zeros(0, dtype=np.uint32)
_READ_ORDER: tuple[Part, Part] = ("validation", "train")


@dataclass(slots=True)
class Written:
    """What went into both parts, and what did not."""

    rejects: dict[Part, Rejects]
    parts: dict[Part, dict[str, Any]] = field(default_factory=dict)  # what the manifest says about each
    cleaning: CleaningCounts = field(default_factory=CleaningCounts)
    num_without_tokens: int = 0
    num_cut_tokens: int = 0

    def rejected(self) -> dict[str, int]:
        """Return the bad records of both parts by kind."""
        return dict(sum((rejects.counts for rejects in self.rejects.values()), Counter()))

    def places(self) -> str:
        """Return the bad records with their first places, on one line."""
        return "; ".join(text for rejects in self.rejects.values() if (text := rejects.describe()))


class _Parts:
    """The writers of both parts, and what has been counted so far."""

    def __init__(self, folder: Path, encoder: DocumentEncoder, options: SourceOptions, shard_tokens: int) -> None:
        dtype = token_dtype(encoder.tokenizer.vocab_size)
        self.writers = {
            part: ShardWriter(folder / part, encoder, dtype=dtype, shard_tokens=shard_tokens) for part in PARTS
        }
        self.written = Written({part: Rejects(options.max_bad_share) for part in PARTS})
        is_removing = encoder.cleaner is not None and encoder.cleaner.config.duplicates != "keep"
        self._remover = DuplicateRemover(encoder.tokenizer, is_removing=is_removing, counts=self.written.cleaning)

    def add(self, batch: EncodedBatch, near_duplicates: Collection[int] = ()) -> None:
        self.written.cleaning.add(batch.cleaning)
        self.written.num_without_tokens += batch.num_without_tokens
        self.written.num_cut_tokens += batch.num_cut
        stays = self._remover.choose(batch, near_duplicates)
        self.writers["train"].add(batch, stays & ~batch.is_validation)
        self.writers["validation"].add(batch, stays & batch.is_validation)

    def finish(self, num_files: int) -> Written:
        self.written.parts = {part: self.writers[part].finish() for part in PARTS}
        if not self.written.parts["train"]["num_documents"]:
            removed = ", ".join(f"{count:,} {reason}" for reason, count in self.written.cleaning.removed.most_common())
            cleaned = f"cleaning left out {removed}" if removed else "all documents are empty or in the validation part"
            found = self.written.places() or cleaned
            raise DataError(f"No usable text to train on in {num_files} files: {found}.")
        return self.written


@contextmanager
def _parts(folder: Path, encoder: DocumentEncoder, options: SourceOptions, shard_tokens: int) -> Iterator[_Parts]:
    with ExitStack() as stack:
        parts = _Parts(folder, encoder, options, shard_tokens)
        for writer in parts.writers.values():
            stack.callback(writer.abort)
        yield parts


def stream_parts(
    folder: Path,
    files: dict[Part, list[Path]],
    encoder: DocumentEncoder,
    options: SourceOptions,
    shard_tokens: int,
    processes: int,
) -> Written:
    """Write both parts in one pass, tokenizing in several processes.

    Args:
        folder: The shard folder.
        files: Of each part.
        encoder: What is done with the documents of the training files.
        options: How documents are found.
        shard_tokens: Tokens after which a shard is closed.
        processes: Worker processes.

    Raises:
        DataError: If a file cannot be used, too much is bad, or no text is left.
    """
    with _parts(folder, encoder, options, shard_tokens) as parts:
        for part in _READ_ORDER:
            rejects = parts.written.rejects[part]
            documents = read_placed_documents(files[part], options, rejects, label=f"Preparing {part}")
            share = 1.0 if part == "validation" else encoder.validation_share
            for batch in encode_documents(documents, replace(encoder, validation_share=share), processes=processes):
                parts.add(batch)
        return parts.finish(len(files["train"]))


def write_parts_from_pieces(
    folder: Path,
    work: Path,
    files: dict[Part, list[Path]],
    encoder: DocumentEncoder,
    options: SourceOptions,
    shard_tokens: int,
    processes: int,
    where: ExecutorConfig,
) -> Written:
    """Let tasks encode stretches of files, find near-duplicates among all, and write both parts from what they made.

    Args:
        folder: The shard folder.
        work: For what lies between; seen by all machines, kept if this fails, removed when it is done.
        files: Of each part.
        encoder: What is done with the documents of the training files.
        options: How documents are found.
        shard_tokens: Tokens after which a shard is closed.
        processes: Tasks at the same time on this machine.
        where: Where the tasks run.

    Raises:
        DataError: If a file cannot be used, a task failed, too much is bad, or no text is left.
        ElectrifyError: If a package that is needed is not installed.
    """
    cleaning = encoder.cleaner.config if encoder.cleaner else CleaningConfig()
    work = work.resolve()
    stretches = _deal(files, where.tasks)
    maker = MakePiece(
        folder=work,
        stretches=stretches,
        tokenizer_json=encoder.tokenizer.to_json(),
        pack=encoder.pack,
        max_length=encoder.max_length,
        validation_share=encoder.validation_share,
        cleaning=cleaning,
        options=options,
        yields_signatures=cleaning.duplicates == "near",
    )
    _start_or_continue(work, maker)
    near = _run(maker, work, processes, where)
    with _parts(folder, encoder, options, shard_tokens) as parts:
        for rank, (part, _) in enumerate(stretches):
            counts = read_counts(work, rank)
            parts.written.rejects[part].merge(counts.rejects)
            parts.written.cleaning.add(counts.cleaning)
            parts.written.num_without_tokens += counts.num_without_tokens
            parts.written.num_cut_tokens += counts.num_cut
            for batch, repeated in _with_repeats(read_piece(work, rank), near.get(rank, _NONE)):
                parts.add(batch, repeated)
        for part in _READ_ORDER:
            parts.written.rejects[part].check()
        written = parts.finish(len(files["train"]))
    shutil.rmtree(work)
    return written


def _run(maker: MakePiece, work: Path, processes: int, where: ExecutorConfig) -> dict[int, NDArray[np.uint32]]:
    """Run the tasks; return which documents of each piece are near-duplicates of earlier ones."""
    steps: list[Step] = [maker]
    signatures, pairs = work / "signatures", work / "pairs"
    if maker.yields_signatures:
        try:
            from electrify.data import near_duplicates
        except ImportError:
            raise ElectrifyError("datatrove is not installed: pip install 'electrify[clean]'.") from None
        steps.append(near_duplicates.Signatures(signatures))
    tasks, folder = len(maker.stretches), work / "encode"
    if where.kind == "local" and (large := _find_large(maker.stretches, processes)):
        together: list[Step] = [replace(maker, processes=processes), *steps[1:]]
        run_here(together, tasks=tasks, folder=folder, ranks=large)
    run_tasks(steps, tasks=tasks, processes=processes, config=where, folder=folder, label="Encoding")
    if not maker.yields_signatures:
        return {}
    matching = [near_duplicates.matches(signatures, pairs)]
    run_tasks(matching, tasks=NUM_BANDS, processes=processes, config=where, folder=work / "match", label="Matching")
    return near_duplicates.repeats(pairs)


def _find_large(stretches: list[tuple[Part, list[Path]]], processes: int) -> list[int]:
    """Return the stretches that would keep one process busy when the others are done; all work on each of them."""
    sizes = [sum(path.stat().st_size for path in paths) for _, paths in stretches]
    return [rank for rank, size in enumerate(sizes) if size * processes > sum(sizes)]


def _deal(files: dict[Part, list[Path]], tasks: int | None) -> list[tuple[Part, list[Path]]]:
    """Return stretches of consecutive files of about equal size, at least one for each part that has files."""
    stretches: list[tuple[Part, list[Path]]] = []
    total_bytes = sum(path.stat().st_size for paths in files.values() for path in paths)
    for part in _READ_ORDER:
        stretch: list[Path] = []
        num_bytes = 0
        for path in files[part]:
            stretch.append(path)
            num_bytes += path.stat().st_size
            if tasks is None or num_bytes * tasks >= total_bytes:
                stretches.append((part, stretch))
                stretch, num_bytes = [], 0
        if stretch:
            stretches.append((part, stretch))
    return stretches


def _start_or_continue(work: Path, maker: MakePiece) -> None:
    """Keep what an interrupted call left, if it did exactly this; else begin anew."""
    plan = {
        "stretches": [
            [part, [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]]
            for part, paths in maker.stretches
        ],
        "tokenizer": json.loads(maker.tokenizer_json),
        "settings": [maker.pack, maker.max_length, maker.validation_share, asdict(maker.options)],
        "cleaning": maker.cleaning.model_dump(mode="json"),
    }
    if (work / "plan.json").is_file() and read_json(work / "plan.json") == plan:
        return
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    write_json(work / "plan.json", plan)


def _with_repeats(
    batches: Iterable[EncodedBatch], repeated: NDArray[np.uint32]
) -> Iterator[tuple[EncodedBatch, frozenset[int]]]:
    """Yield each batch with those of its documents that are in `repeated`, counted from the batch's first."""
    first = 0
    for batch in batches:
        end = first + len(batch.document_lengths)
        here = repeated[np.searchsorted(repeated, first) : np.searchsorted(repeated, end)]
        yield batch, frozenset((here.astype(np.int64) - first).tolist())
        first = end
