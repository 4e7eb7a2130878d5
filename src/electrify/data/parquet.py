"""Rows of `.parquet` files, in bounded memory: what a file says of its own size is not believed."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from electrify.data.lines import COMPRESSIONS, Source, damaged, require_plausible
from electrify.data.parquet_pages import read_page_sizes
from electrify.data.rejects import NOT_UTF8, TOO_LONG, Rejects
from electrify.data.tables import check_columns

_BATCH_ROWS = 64
_VALUE_BYTES = 8
_MAX_VALUES = 1 << 27  # in a row group: a million lists of 128, which may all be the same


@contextmanager
def _seekable(source: Source) -> Iterator[Any]:
    if source.path.suffix.lower() not in COMPRESSIONS:
        yield source.raw
        return
    with tempfile.TemporaryFile() as spool:
        while chunk := source.file.read(1 << 20):
            spool.write(chunk)
            require_plausible(spool.tell(), source.raw.tell())
        spool.seek(0)
        yield spool


def _refuse_bombs(file: Any, group: Any, columns: Sequence[str] | None, max_bytes: int) -> None:
    """Stop before the columns of a row group are read if their pages say that they grow beyond all measure."""
    unpacked_bytes = packed_bytes = num_values = 0
    for chunk in map(group.column, range(group.num_columns)):
        if columns is not None and chunk.path_in_schema.split(".")[0] not in columns:
            continue
        for page in read_page_sizes(file, chunk):
            unpacked_bytes += page.unpacked_bytes
            packed_bytes += page.packed_bytes
            num_values += page.num_values
    if unpacked_bytes > max_bytes:
        require_plausible(unpacked_bytes, packed_bytes)
    if num_values > _MAX_VALUES:
        require_plausible(_VALUE_BYTES * num_values, packed_bytes)


def _open_parquet(file: Any, columns: Sequence[str] | None) -> tuple[Any, int]:
    """Open a table; return it and how many of its rows are to be read at a time.

    Parquet keeps a repeated value once, so a small file may hold any number of large ones. Plain columns are read row
    by row, which makes one value of each. A list repeats values within a row, so tables with lists are read with the
    values and the places that refer to them apart. pyarrow can not do that with texts that are written as differences;
    beside lists these are read row by row, within lists they are refused.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file)
    names = table.schema_arrow.names
    kinds = [table.schema_arrow.field(name).type for name in columns or names if name in names]
    if not any(pa.types.is_nested(kind) or pa.types.is_dictionary(kind) for kind in kinds):
        return table, 1
    apart, differences = [], []
    for index, leaf in enumerate(map(table.schema.column, range(len(table.schema)))):
        if leaf.physical_type != "BYTE_ARRAY" or (columns is not None and leaf.path.split(".")[0] not in columns):
            continue
        if not _is_differences(table.metadata, index):
            apart.append(leaf.path)
        elif leaf.max_repetition_level:
            raise ValueError(f"{leaf.path}: lists of texts that are written as differences; choose another encoding")
        else:
            differences.append(leaf.path)
    rows = 1 if differences else _BATCH_ROWS
    return pq.ParquetFile(file, metadata=table.metadata, read_dictionary=apart), rows


def _is_differences(metadata: Any, index: int) -> bool:
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return any(encoding.startswith("DELTA") for group in groups for encoding in group.column(index).encodings)


def _as_python(value: Any) -> Any:
    """Return a value as Python has it, None if it has none: nanoseconds, years beyond 9999."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError):
        return None


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


def _read_batches(
    table: Any, file: Any, columns: Sequence[str] | None, batch_rows: int, max_bytes: int
) -> Iterator[Any]:
    wanted = list(columns) if columns else None
    for number in range(table.num_row_groups):
        _refuse_bombs(file, table.metadata.row_group(number), columns, max_bytes)
        yield from table.iter_batches(batch_rows, row_groups=[number], columns=wanted, use_threads=False)


def read_parquet(
    source: Source, rejects: Rejects, max_bytes: int, columns: Sequence[str] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a file; arguments as for `records.read_rows`."""
    size_bytes, number = source.raw.size(), 0
    try:
        with _seekable(source) as file:
            table, batch_rows = _open_parquet(file, columns)
            check_columns(source, table.schema_arrow.names, columns)
            for batch in _read_batches(table, file, columns, batch_rows, max_bytes):
                for index in range(batch.num_rows):
                    number += 1
                    source.position_bytes = size_bytes * number // max(number, table.metadata.num_rows)
                    if sum(_size_bytes(column.slice(index, 1)) for column in batch.columns) > max_bytes:
                        rejects.add(TOO_LONG, f"{source.path}:{number}")
                        continue
                    try:
                        row = {name: _as_python(batch.column(name)[index]) for name in batch.schema.names}
                    except UnicodeDecodeError:
                        rejects.add(NOT_UTF8, f"{source.path}:{number}")
                        continue
                    yield number, row
    except (OSError, ValueError) as problem:  # pyarrow.ArrowInvalid is a ValueError
        damaged(source, problem, rejects)
