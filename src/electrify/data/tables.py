"""Rows of `.csv` and `.tsv` files, in bounded memory.

- CSV is read with quotes, strictly: a stray quote makes its row bad instead of swallowing the rows behind it unseen.
- TSV has no quotes: a tab ends a field, a line is a record, and `"` is a letter like any other.
"""

import csv
from collections.abc import Iterator, Sequence
from typing import Any

from electrify.data.lines import Source, is_utf8, read_all_lines
from electrify.data.rejects import BROKEN_ROW, NOT_UTF8, TOO_LONG, Rejects
from electrify.errors import DataError


def check_columns(source: Source, found: Sequence[str], needed: Sequence[str] | None) -> None:
    """Refuse a table without a column that is needed.

    Args:
        source: The table.
        found: Its columns.
        needed: Those that are read; None needs none.

    Raises:
        DataError: Naming the first that is missing.
    """
    missing = [name for name in needed or () if name not in found]
    if missing:
        raise DataError(
            f"{source.path}: no column '{missing[0]}'; columns are {', '.join(found)}. "
            "Name the right one, as with --text-field."
        )


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


def read_table(
    source: Source, rejects: Rejects, max_bytes: int, columns: Sequence[str] | None, names: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a table; arguments as for `records.read_rows`, `names` being its `header`."""
    lines = _RecordLines(source, rejects, max_bytes)
    if source.format == ".csv":
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header: Sequence[str] | None = names or None
    while True:
        number = lines.number + 1
        lines.num_bytes = 0
        limit = csv.field_size_limit(max_bytes)  # one for the whole process: other readers keep theirs
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
        finally:
            csv.field_size_limit(limit)
        if header is None:
            check_columns(source, row, columns)
            header = row
        elif not is_utf8("\n".join(row).encode(errors="surrogateescape")):  # joined by what is no part of a letter
            rejects.add(NOT_UTF8, f"{source.path}:{number}")
        elif row and len(row) != len(header):
            rejects.add(BROKEN_ROW, f"{source.path}:{number}", f"{len(row)} fields, the header has {len(header)}")
        elif row:
            yield number, dict(zip(header, row, strict=True))
