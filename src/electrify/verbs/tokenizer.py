"""`tokenizer`: a vocabulary learned from raw text, or a published one taken over."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from electrify.data.rejects import Rejects
from electrify.data.sources import SourceOptions, find_files, read_documents
from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.data.vocabulary import train_tokenizer
from electrify.errors import ConfigError
from electrify.files import new_folder, refuse_existing


@dataclass(frozen=True, slots=True)
class TokenizerReport:
    """What came out, and what it was learned from; the counts are 0 for a tokenizer that was taken over."""

    output: Path
    vocab_size: int
    digest: str
    num_files: int
    num_documents: int
    num_bytes: int
    """Size of the documents, in bytes of UTF-8."""
    num_rejected: dict[str, int]
    """Records that could not be used, by kind."""
    rejected_places: str
    """The first of them, with their places; empty if there are none."""
    seconds: float


def build_tokenizer(
    corpus: str | Path | Sequence[str | Path],
    *,
    output: str | Path,
    vocab_size: int = 30522,
    is_cased: bool = False,
    from_: str | Path | None = None,
    max_length: int | None = None,
    overwrite: bool = False,
    source_options: SourceOptions | None = None,
) -> TokenizerReport:
    """Write a tokenizer folder that `prepare` and Transformers read.

    Args:
        corpus: Files, folders and globs to learn from; empty with `from_`.
        output: The folder to make.
        vocab_size: Tokens to learn, special ones included; 30,522 is BERT's.
        is_cased: Keep capitals and accents. With `from_` it counts for a bare `vocab.txt` only.
        from_: A published folder, tokenizer.json or vocab.txt to take over instead of learning.
        max_length: Longest input in tokens, written for Transformers; None sets no limit.
        overwrite: Replace an existing folder.
        source_options: How documents are found; None means the defaults.

    Raises:
        ConfigError: If neither or both of `corpus` and `from_` are given, or `vocab_size` is too small for the letters.
        DataError: If a file or the output cannot be used, too much is bad, or no text is left.
    """
    started = time.monotonic()
    output = Path(output)
    if bool(corpus) == (from_ is not None):
        raise ConfigError(
            "Give either a corpus to learn a vocabulary from, or a published tokenizer with --from (from_)."
        )
    files = find_files(corpus) if from_ is None else []
    refuse_existing(output, overwrite=overwrite, inputs=[*files, from_])
    documents = _Documents(files, source_options or SourceOptions())
    tokenizer = _load(Path(from_), is_cased) if from_ is not None else _train(documents, vocab_size, is_cased)
    with new_folder(output) as folder:
        tokenizer.save(folder, max_length=max_length)
    return TokenizerReport(
        output=output,
        vocab_size=tokenizer.vocab_size,
        digest=tokenizer.digest,
        num_files=len(documents.files),
        num_documents=documents.rejects.num_good,
        num_bytes=documents.rejects.num_bytes,
        num_rejected=dict(documents.rejects.counts),
        rejected_places=documents.rejects.describe(),
        seconds=time.monotonic() - started,
    )


class _Documents:
    """The corpus, read anew at each `iter`; the counts are those of the last time."""

    def __init__(self, files: Sequence[Path], options: SourceOptions) -> None:
        self.files = files
        self.rejects = Rejects(options.max_bad_share)
        self._options = options
        self._num_passes = 0

    def __iter__(self) -> Iterator[str]:
        self.rejects = Rejects(self._options.max_bad_share)
        self._num_passes += 1
        label = "Counting letters" if self._num_passes == 1 else "Learning pieces"
        return read_documents(self.files, self._options, self.rejects, label=label)


def _train(documents: _Documents, vocab_size: int, is_cased: bool) -> Tokenizer:
    return train_tokenizer(documents, vocab_size=vocab_size, is_cased=is_cased)


def _load(path: Path, is_cased: bool) -> Tokenizer:
    """Load a published tokenizer; `is_cased` decides for a bare vocab.txt, where nothing beside it says otherwise."""
    return load_tokenizer(path, is_cased=is_cased or None)
