"""Raw text files to documents, one at a time in bounded memory.

Plain text (`.txt`) and records (`.jsonl`, `.csv`, `.tsv`, `.parquet`, read by `records`), each also compressed as
`.gz`, `.zst` or `.bz2`; files, folders and globs. What cannot be used is counted and named in `Rejects`.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Literal, NamedTuple

from electrify import progress
from electrify.data.lines import COMPRESSIONS, Source, file_format, is_utf8, open_source, read_all_lines
from electrify.data.records import RECORD_ENDINGS, read_rows
from electrify.data.rejects import EMPTY, MISSING_FIELD, NOT_TEXT, NOT_UTF8, TOO_LONG, Rejects
from electrify.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

ENDINGS = (".txt", *RECORD_ENDINGS)


class Document(NamedTuple):
    """A text and where it was read, as `path:row`."""

    text: str
    place: str
    compression_bin: int = -1
    """Its bin in `CleaningCounts.compression`; −1 until, and unless, it was measured."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How documents are found in files."""

    text_field: str = "text"
    """Field or column that holds the text; plain text files have none."""
    txt_documents: Literal["blank", "file", "line"] = "blank"
    """What a document is in a `.txt` file: lines up to a blank one, the whole file, or one line."""
    max_bad_share: float = 0.01
    """Highest share of records that may be unusable, in [0, 1]."""
    max_document_bytes: int = 64 << 20
    """Longest document in bytes of UTF-8; a longer one is rejected and never held whole."""

    def __post_init__(self) -> None:
        if self.txt_documents not in ("blank", "file", "line"):
            raise ConfigError(f"txt_documents must be 'blank', 'file' or 'line', got {self.txt_documents!r}.")
        if not 0 <= self.max_bad_share <= 1:
            raise ConfigError(f"max_bad_share must be in [0, 1], got {self.max_bad_share}.")
        if self.max_document_bytes < 1:
            raise ConfigError(f"max_document_bytes must be at least 1, got {self.max_document_bytes}.")


def find_files(corpus: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the files that a file, folder or glob, or a list of them, stands for.

    Folders are searched to the bottom; hidden files and other endings in them are left out. The files of one folder or
    glob are sorted by path; a file that is named twice is taken once.

    Raises:
        DataError: If an entry matches nothing, or a file's ending is not known.
    """
    if not corpus:
        raise DataError("No corpus given. Name files, folders or globs.")
    found: dict[Path, Path] = {}
    for entry in [corpus] if isinstance(corpus, str | Path) else corpus:
        for path in _expand(Path(entry)):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _expand(entry: Path) -> list[Path]:
    known = f"Known endings: {', '.join(ENDINGS)}, each also with {', '.join(COMPRESSIONS)}."
    if entry.is_dir():
        inside = sorted(path for path in entry.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(entry)))
        files = [path for path in inside if file_format(path) in ENDINGS]
        if len(files) < len(inside):
            logger.info("%s: %d files with other endings left out.", entry, len(inside) - len(files))
        if not files:
            raise DataError(f"{entry}: no text files in this folder. {known}")
        return files
    if entry.exists():
        if file_format(entry) not in ENDINGS:
            raise DataError(f"{entry}: unknown ending '{entry.suffix}'. {known}")
        return [entry]
    matches = sorted(Path(match) for match in glob(str(entry), recursive=True))
    if not matches:
        raise DataError(f"{entry}: no such file or folder, and no file matches it as a pattern.")
    return [path for match in matches for path in _expand(match)]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_documents(
    files: Sequence[Path], options: SourceOptions, rejects: Rejects, *, label: str = "Reading"
) -> Iterator[str]:
    """Yield the texts of the documents that `read_placed_documents` yields; arguments and errors are its own."""
    return (document.text for document in read_placed_documents(files, options, rejects, label=label))


def read_placed_documents(
    files: Sequence[Path], options: SourceOptions, rejects: Rejects, *, label: str = "Reading"
) -> Iterator[Document]:
    """Yield the documents of the files in order, without white space around them.

    Args:
        files: From `find_files`.
        options: How documents are found.
        rejects: Where kept and bad records are counted; the caller reads it when this ends.
        label: Shown with the progress.

    Raises:
        DataError: At the end, if more than `max_bad_share` was bad; earlier, if a table has not got the column.
    """
    total_bytes = sum(path.stat().st_size for path in files)
    with progress.bar(label, total=total_bytes) as bar:
        for path in files:
            done_bytes = 0
            with open_source(path) as source:
                for number, text in _read_texts(source, options, rejects):
                    place = f"{path}:{number}"
                    document = _check_text(text, place, options, rejects)
                    if document is None:
                        continue
                    num_bytes = len(document.encode())
                    rejects.keep(num_bytes)
                    bar.advance(source.position_bytes - done_bytes, documents=1, MB=num_bytes / 1e6)
                    done_bytes = source.position_bytes
                    yield Document(document, place)
            bar.advance(path.stat().st_size - done_bytes)
    rejects.check()


def _check_text(text: str, place: str, options: SourceOptions, rejects: Rejects) -> str | None:
    text = text.strip()
    if not text:
        rejects.add(EMPTY, place)
    elif len(text) * 4 > options.max_document_bytes and len(text.encode()) > options.max_document_bytes:
        rejects.add(TOO_LONG, place)
    else:
        return text
    return None


def _read_texts(source: Source, options: SourceOptions, rejects: Rejects) -> Iterator[tuple[int, str]]:
    if source.format == ".txt":
        yield from _read_plain(source, options, rejects)
        return
    field = options.text_field
    for number, row in read_rows(source, rejects, max_bytes=2 * options.max_document_bytes, columns=[field]):
        value = row.get(field)
        place = f"{source.path}:{number}"
        if value is None and field in row:
            rejects.add(MISSING_FIELD, place, f"'{field}' is empty (null)")
        elif value is None:
            rejects.add(MISSING_FIELD, place, f"no '{field}', fields are {', '.join(row) or 'none'}; set --text-field")
        elif not isinstance(value, str):
            rejects.add(NOT_TEXT, place, f"'{field}' is {type(value).__name__}")
        else:
            yield number, value


def _read_plain(source: Source, options: SourceOptions, rejects: Rejects) -> Iterator[tuple[int, str]]:
    """Yield (first line's number, text); blank lines between documents are borders, not empty documents."""
    lines: list[bytes] = []
    first, num_bytes = 1, 0
    limit = options.max_document_bytes
    for number, line in read_all_lines(source, rejects, max_bytes=limit):
        size = limit + 1 if line is None else len(line)  # of one over the limit nothing else is known
        is_blank = line is not None and not line.strip()
        if options.txt_documents == "line" or (is_blank and options.txt_documents == "blank"):
            if options.txt_documents == "line" and not is_blank:
                lines, first, num_bytes = [line or b""], number, size
            yield from _finish(source, lines, num_bytes, first, options, rejects)
            lines, num_bytes = [], 0
            continue
        if not lines and not num_bytes:
            first = number
        num_bytes += size
        if line is not None and num_bytes <= limit:
            lines.append(line)
        else:
            lines = []  # too long: only its size is still counted
    yield from _finish(source, lines, num_bytes, first, options, rejects)


def _finish(
    source: Source, lines: list[bytes], num_bytes: int, first: int, options: SourceOptions, rejects: Rejects
) -> Iterator[tuple[int, str]]:
    if num_bytes > options.max_document_bytes:
        rejects.add(TOO_LONG, f"{source.path}:{first}")
    elif lines:
        try:
            yield first, b"".join(lines).decode()
        except UnicodeDecodeError:
            bad = next(number for number, line in enumerate(lines, first) if not is_utf8(line))
            rejects.add(NOT_UTF8, f"{source.path}:{bad}")
