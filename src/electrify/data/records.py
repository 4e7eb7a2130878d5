"""Records of `.jsonl`, `.csv`, `.tsv` and `.parquet` files, plain or compressed, one at a time in bounded memory.

The one reader for corpora and for labelled data. Lines and records are read with a cap, so neither an endless line nor
a small file that unpacks to gigabytes is ever held whole; one that unpacks to over 200 times its size is given up. A
bad record is counted, named and skipped; its neighbours are kept.

- CSV is read with quotes, strictly: a stray quote makes its row bad instead of swallowing the rows behind it unseen.
- TSV has no quotes: a tab ends a field, a line is a record, and `"` is a letter like any other.
"""

import csv
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import orjson

from electrify.data.rejects import BROKEN_JSON, BROKEN_ROW, DAMAGED_FILE, NOT_UTF8, TOO_LONG, Rejects
from electrify.errors import DataError

logger = logging.getLogger(__name__)

RECORD_ENDINGS = (".jsonl", ".csv", ".tsv", ".parquet")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}

_BUFFER_BYTES = 1 << 12  # a damaged compressed file loses at most this much of what came before the damage
_PARQUET_BATCH_ROWS = 64
_MAX_UNPACKED_RATIO = 200  # text unpacks to ten times its size, lists to fifty; gzip's most is a thousand
_MIN_RATIO_BYTES = 1 << 20  # of the file: up to 200 MB come out of anything
_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Source:
    """A file that is being read."""

    path: Path
    format: str  # the ending without compression, as ".jsonl"
    file: IO[bytes]  # what the file holds, decompressed
    raw: Any  # the file as it lies on the disk
    position_bytes: int = 0  # how much of the file on the disk has been read


def file_format(path: Path) -> str:
    """Return a file's ending without that of its compression, in small letters, as ".jsonl"."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a plain or compressed file for reading.

    A compressed parquet file is unpacked into a temporary file first, because parquet is read from its end.

    Raises:
        DataError: If the file is missing or may not be read.
    """
    import pyarrow as pa

    with ExitStack() as stack:
        try:
            raw = stack.enter_context(pa.OSFile(os.fsencode(path)))
        except OSError as problem:
            reason = problem.strerror or str(problem).split(". Detail")[0]
            raise DataError(f"{path}: cannot be read ({reason}).") from None
        compression = COMPRESSIONS.get(path.suffix.lower())
        unpacked = stack.enter_context(pa.CompressedInputStream(raw, compression)) if compression else raw
        file = cast(IO[bytes], BufferedReader(unpacked, _BUFFER_BYTES if compression else 1 << 16))
        yield Source(path, file_format(path), file, raw)


def damaged(source: Source, problem: Exception, rejects: Rejects) -> None:
    """Count a file that breaks off: its readable part is kept, how much is lost nobody knows, so it is also logged."""
    detail = str(problem).split(". Detail")[0]
    logger.warning("%s: damaged or cut short (%s); what follows in this file is lost.", source.path, detail)
    rejects.add(DAMAGED_FILE, str(source.path), detail)


def read_lines(source: Source, rejects: Rejects, *, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers from 1, with their line ends, without a byte order mark.

    Args:
        source: The open file; its position is kept up to date.
        rejects: Where lines over `max_bytes`, and the break in a damaged file, are counted.
        max_bytes: Longest line that is read; a longer one is skipped without holding it.
    """
    for number, line in read_all_lines(source, rejects, max_bytes=max_bytes):
        if line is None:
            rejects.add(TOO_LONG, f"{source.path}:{number}")
        else:
            yield number, line


def read_all_lines(
    source: Source, rejects: Rejects, *, max_bytes: int, see_part: Callable[[bytes], None] | None = None
) -> Iterator[tuple[int, bytes | None]]:
    """Yield what `read_lines` does, and None for a line over `max_bytes`, which is not counted.

    Args:
        source: The open file.
        rejects: Where the break in a damaged file is counted.
        max_bytes: Longest line that is read.
        see_part: Given each part of a line that is skipped.
    """
    number = num_bytes = 0
    while True:
        try:
            line = source.file.readline(max_bytes + 1)
            is_too_long = len(line) > max_bytes and not line.endswith(b"\n")
            rest = line
            num_bytes += len(line)
            while is_too_long and rest:
                if see_part is not None:
                    see_part(rest)
                if rest.endswith(b"\n"):
                    break
                rest = source.file.readline(1 << 16)
                num_bytes += len(rest)
                _require_plausible(num_bytes, source.raw.tell())
        except (OSError, _BombError) as problem:
            return damaged(source, problem, rejects)
        if not line:
            return None
        number += 1
        source.position_bytes = source.raw.tell()
        if is_too_long:
            yield number, None
        else:
            yield number, line.removeprefix(_BOM) if number == 1 else line


class _BombError(ValueError):
    pass


def _require_plausible(unpacked_bytes: int, packed_bytes: int) -> None:
    if unpacked_bytes > _MAX_UNPACKED_RATIO * max(packed_bytes, _MIN_RATIO_BYTES):
        raise _BombError(f"unpacks to more than {_MAX_UNPACKED_RATIO} times its size")


def read_rows(
    source: Source,
    rejects: Rejects,
    *,
    max_bytes: int = 64 << 20,
    columns: Sequence[str] | None = None,
    header: Sequence[str] = (),
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the records of a file as (line or row number from 1, fields).

    Args:
        source: The open file; its ending decides how it is read.
        rejects: Where bad records are counted.
        max_bytes: Longest record in bytes.
        columns: Fields that are needed; parquet reads no others. None reads all.
        header: Names of the columns of a table whose first row is data already; empty takes its first row.

    Raises:
        DataError: If the ending is not one of `RECORD_ENDINGS`, or a table has not got the columns.
    """
    if source.format == ".jsonl":
        return _read_jsonl(source, rejects, max_bytes)
    if source.format in (".csv", ".tsv"):
        return _read_table(source, rejects, max_bytes, columns, header)
    if source.format == ".parquet":
        return _read_parquet(source, rejects, max_bytes, columns)
    raise DataError(
        f"{source.path}: unknown ending. Known: {', '.join(RECORD_ENDINGS)}, each also with .gz, .zst, .bz2."
    )


def is_utf8(line: bytes) -> bool:
    """Tell whether bytes are valid UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_jsonl(source: Source, rejects: Rejects, max_bytes: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(source, rejects, max_bytes=max_bytes):
        if line.isspace():
            continue
        place = f"{source.path}:{number}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as problem:
            if is_utf8(line):
                rejects.add(BROKEN_JSON, place, str(problem))
            else:
                rejects.add(NOT_UTF8, place)
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            rejects.add(BROKEN_JSON, place, f"expected an object, found {type(row).__name__}")


def _check_columns(source: Source, found: Sequence[str], needed: Sequence[str] | None) -> None:
    missing = [name for name in needed or () if name not in found]
    if missing:
        raise DataError(f"{source.path}: no column '{missing[0]}'; columns are {', '.join(found)}. Name the right one.")


class _RecordTooLongError(Exception):
    pass


class _Quotes:
    """Whether a place in a CSV file is within quotes, told from the bytes before it."""

    def __init__(self) -> None:
        self.is_open = False  # at the end of what was seen
        self._is_field_start = True
        self._is_behind_quote = False  # within quotes, where a second one would be a letter

    def begin(self, *, is_open: bool) -> None:
        """Stand at the beginning of a line."""
        self.is_open, self._is_field_start, self._is_behind_quote = is_open, not is_open, False

    def see(self, part: bytes) -> None:
        """Go over a line or the next part of a long one."""
        place = 0
        while 0 <= place < len(part):
            if self._is_behind_quote or self._is_field_start:
                is_quote = part.startswith(b'"', place)
                self.is_open, self._is_field_start, self._is_behind_quote = is_quote, False, False
                place += is_quote
            elif self.is_open:
                place = part.find(b'"', place) + 1 or len(part)
                self._is_behind_quote = part.endswith(b'"', 0, place)
                self.is_open = not self._is_behind_quote
            else:
                place = part.find(b",", place) + 1 or len(part)
                self._is_field_start = part.endswith(b",", 0, place)
        if part.endswith(b"\n"):
            self.begin(is_open=self.is_open)


class _RecordLines:
    """Lines for `csv.reader` with a limit on those of one record: quotes may span lines without end.

    Of a record over the limit, the rest is skipped to its end, so that it is not read as further records.
    """

    def __init__(self, source: Source, rejects: Rejects, max_bytes: int) -> None:
        self._has_quotes = source.format == ".csv"
        self._quotes = _Quotes()
        self._lines = read_all_lines(source, rejects, max_bytes=max_bytes, see_part=self._quotes.see)
        self._max_bytes = max_bytes
        self.num_bytes = 0  # of the record so far; whoever reads records sets it back
        self.number = 0  # of the last line

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._quotes.begin(is_open=self._has_quotes and self.num_bytes > 0)  # why else ask for more of a record
        self.number, line = next(self._lines)
        if line is not None:
            self.num_bytes += len(line)
            if self.num_bytes <= self._max_bytes:
                return line.decode(errors="surrogateescape")
            self._quotes.see(line)
        while self._has_quotes and self._quotes.is_open:
            self.number, line = next(self._lines, (self.number, b'"'))  # the end of the file ends the record too
            self._quotes.see(line or b"")
        raise _RecordTooLongError


def _read_table(
    source: Source, rejects: Rejects, max_bytes: int, columns: Sequence[str] | None, names: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = _RecordLines(source, rejects, max_bytes)
    if source.format == ".csv":
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header: Sequence[str] | None = names or None
    while True:
        number = lines.number + 1
        csv.field_size_limit(max_bytes)  # the limit is one for the whole process, so it is set where it is needed
        lines.num_bytes = 0
        try:
            row = next(reader)
        except StopIteration:
            return
        except _RecordTooLongError:
            detail = f"to line {lines.number}" if lines.number > number else ""
            rejects.add(TOO_LONG, f"{source.path}:{number}", detail)
            continue
        except csv.Error as problem:
            rejects.add(BROKEN_ROW, f"{source.path}:{number}", str(problem))
            continue
        if header is None:
            _check_columns(source, row, columns)
            header = row
        elif not is_utf8("\n".join(row).encode(errors="surrogateescape")):  # joined by what is no part of a letter
            rejects.add(NOT_UTF8, f"{source.path}:{number}")
        elif row and len(row) != len(header):
            rejects.add(BROKEN_ROW, f"{source.path}:{number}", f"{len(row)} fields, the header has {len(header)}")
        elif row:
            yield number, dict(zip(header, row, strict=True))


@contextmanager
def _seekable(source: Source) -> Iterator[Any]:
    if source.path.suffix.lower() not in COMPRESSIONS:
        yield source.raw
        return
    with tempfile.TemporaryFile() as spool:
        while chunk := source.file.read(1 << 20):
            spool.write(chunk)
            _require_plausible(spool.tell(), source.raw.tell())
        spool.seek(0)
        yield spool


def _refuse_bombs(metadata: Any, columns: Sequence[str] | None, max_bytes: int) -> None:
    """Stop before a column is unpacked that says of itself that it grows beyond all measure."""
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            is_wanted = columns is None or chunk.path_in_schema.split(".")[0] in columns
            if is_wanted and chunk.total_uncompressed_size > max_bytes:
                _require_plausible(chunk.total_uncompressed_size, chunk.total_compressed_size)


def _open_parquet(file: Any, columns: Sequence[str] | None) -> tuple[Any, int]:
    """Open a table; return it and how many of its rows are to be read at a time.

    Parquet keeps a repeated value once, so a small file may hold any number of large ones. Plain columns are read row
    by row, which makes one value of each. A list repeats values within a row, so tables with lists are read with the
    values and the places that refer to them apart.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file)
    names = table.schema_arrow.names
    kinds = [table.schema_arrow.field(name).type for name in columns or names if name in names]
    if not any(pa.types.is_nested(kind) or pa.types.is_dictionary(kind) for kind in kinds):
        return table, 1
    leaves = map(table.schema.column, range(len(table.schema)))
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    return pq.ParquetFile(file, metadata=table.metadata, read_dictionary=texts), _PARQUET_BATCH_ROWS


def _size_bytes(values: Any) -> int:
    """Return how large an array would be with every value written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        words = values.dictionary
        lengths = pc.binary_length(words) if pa.types.is_string(words.type) or pa.types.is_binary(words.type) else None
        return int(values.nbytes if lengths is None else pc.sum(lengths.take(values.indices)).as_py() or 0)
    if pa.types.is_struct(values.type):
        return sum(map(_size_bytes, values.flatten()))
    if pa.types.is_map(values.type):
        values = values.cast(pa.list_(pa.struct([("key", values.keys.type), ("value", values.items.type)])))
    if pa.types.is_nested(values.type):
        return _size_bytes(values.flatten())
    return int(values.nbytes)


def _read_parquet(
    source: Source, rejects: Rejects, max_bytes: int, columns: Sequence[str] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    size_bytes, number = source.raw.size(), 0
    try:
        with _seekable(source) as file:
            table, batch_rows = _open_parquet(file, columns)
            _check_columns(source, table.schema_arrow.names, columns)
            _refuse_bombs(table.metadata, columns, max_bytes)
            wanted = list(columns) if columns else None
            for batch in table.iter_batches(batch_rows, columns=wanted, use_threads=False):
                for index in range(batch.num_rows):
                    number += 1
                    source.position_bytes = size_bytes * number // table.metadata.num_rows
                    if sum(_size_bytes(column.slice(index, 1)) for column in batch.columns) > max_bytes:
                        rejects.add(TOO_LONG, f"{source.path}:{number}")
                        continue
                    try:
                        row = {name: batch.column(name)[index].as_py() for name in batch.schema.names}
                    except UnicodeDecodeError:
                        rejects.add(NOT_UTF8, f"{source.path}:{number}")
                        continue
                    yield number, row
    except (OSError, ValueError) as problem:  # pyarrow.ArrowInvalid is a ValueError
        damaged(source, problem, rejects)
