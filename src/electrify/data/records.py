"""Records of `.jsonl`, `.csv`, `.tsv` and `.parquet` files, plain or compressed, one at a time in bounded memory.

The one reader for corpora and for labelled data. A bad record is counted, named and skipped; its neighbours are kept.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from electrify.data.lines import Source, is_utf8, read_lines
from electrify.data.parquet import read_parquet
from electrify.data.rejects import BROKEN_JSON, NOT_UTF8, Rejects
from electrify.data.tables import read_table
from electrify.errors import DataError

RECORD_ENDINGS = (".jsonl", ".csv", ".tsv", ".parquet")


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
        return read_table(source, rejects, max_bytes, columns, header)
    if source.format == ".parquet":
        return read_parquet(source, rejects, max_bytes, columns)
    raise DataError(
        f"{source.path}: unknown ending. Known: {', '.join(RECORD_ENDINGS)}, each also with .gz, .zst, .bz2."
    )


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
