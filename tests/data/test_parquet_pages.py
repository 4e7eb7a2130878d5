"""Sizes of parquet pages: what the file's writer put there, whatever the footer says, and nothing else."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.test_hostile_sources import read

from electrify.data import lines
from electrify.data.parquet_pages import read_page_sizes
from electrify.data.records import read_rows
from electrify.data.rejects import Rejects

ROWS = 5_000


def _table(rows: int = ROWS) -> pa.Table:
    random = np.random.default_rng(0)
    words = [("word " * int(n)) + str(n) for n in random.integers(1, 900, rows)]
    lists = [list(range(int(n))) for n in random.integers(0, 6, rows)]
    return pa.table({"text": words, "number": random.standard_normal(rows), "tags": lists})


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("use_dictionary", [False, True])
def test_pages_are_read_as_the_footer_describes_them(version: str, compression: str, use_dictionary: bool) -> None:
    sink = io.BytesIO()
    pq.write_table(
        _table(),
        sink,
        compression=compression,
        data_page_version=version,
        use_dictionary=use_dictionary,
        data_page_size=10_000,
        write_batch_size=100,
        row_group_size=ROWS // 2,
        write_page_checksum=True,
    )
    metadata = pq.ParquetFile(sink).metadata
    num_pages = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            pages = list(read_page_sizes(sink, chunk))
            dictionary = pages[0].num_values if use_dictionary else 0
            assert sum(page.num_values for page in pages) - dictionary == chunk.num_values
            header_bytes = chunk.total_compressed_size - sum(page.packed_bytes for page in pages)
            assert sum(page.unpacked_bytes for page in pages) + header_bytes == chunk.total_uncompressed_size
            num_pages += len(pages)
    assert num_pages > 40


def _varint(number: int, num_bytes: int) -> bytes:
    """Write a zigzag number in a fixed number of bytes."""
    rest, parts = number << 1, []
    for place in range(num_bytes):
        parts.append((rest & 0x7F) | (0x80 if place < num_bytes - 1 else 0))
        rest >>= 7
    assert rest == 0
    return bytes(parts)


def _lying_bomb(path: Path, num_values: int) -> None:
    """Write two rows, one a list of so many zeros, and a footer that says that there are two values."""
    zeros = pa.array(np.zeros(num_values + 1, np.int32))
    tags = pa.ListArray.from_arrays(pa.array([0, num_values, num_values + 1], pa.int32()), zeros)
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"], "tags": tags}), sink, compression="zstd")
    raw = sink.getvalue()
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    width = next(n for n in range(1, 10) if (num_values + 1) << 1 < 1 << 7 * n)
    said = _varint(num_values + 1, width)
    assert said in raw[start:]
    path.write_bytes(raw[:start] + raw[start:].replace(said, _varint(2, width)))


def test_a_list_of_countless_values_is_given_up_whatever_the_footer_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.parquet"
    _lying_bomb(path, 1 << 20)
    assert path.stat().st_size < 5_000
    documents, rejects = read(path)
    assert (documents, rejects.counts) == (["a", "b"], {})  # so many do no harm
    monkeypatch.setattr("electrify.data.parquet._MAX_VALUES", 1 << 19)
    monkeypatch.setattr(lines, "_MIN_RATIO_BYTES", 1 << 12)
    rejects = Rejects()
    with lines.open_source(path) as source:
        assert list(read_rows(source, rejects)) == []
    assert rejects.counts == {"damaged file": 1}
    assert "200 times" in rejects.describe()


def test_the_columns_of_a_row_group_are_judged_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = pa.ListArray.from_arrays(pa.array([0, 1000], pa.int32()), pa.array(np.zeros(1000, np.int32)))
    monkeypatch.setattr("electrify.data.parquet._MAX_VALUES", 3500)
    monkeypatch.setattr(lines, "_MIN_RATIO_BYTES", 10)
    for num_columns, expected in ((3, {}), (4, {"damaged file": 1})):
        pq.write_table(pa.table({f"c{number}": zeros for number in range(num_columns)}), tmp_path / "a.parquet")
        rejects = Rejects()
        with lines.open_source(tmp_path / "a.parquet") as source:
            assert len(list(read_rows(source, rejects))) == (0 if expected else 1)
        assert rejects.counts == expected


def _chunk(num_bytes: int) -> Any:
    return SimpleNamespace(
        data_page_offset=0, has_dictionary_page=False, dictionary_page_offset=None, total_compressed_size=num_bytes
    )


@given(st.binary(min_size=1, max_size=400))
def test_what_is_no_header_is_refused(raw: bytes) -> None:
    try:
        pages = list(read_page_sizes(io.BytesIO(raw), _chunk(len(raw))))
    except ValueError:
        return
    assert all(min(page.num_values, page.unpacked_bytes, page.packed_bytes) >= 0 for page in pages)


# A data page of 2 bytes with 3 values: type 0, unpacked 2, packed 2, {3 values}; then what other readers see in it.
GOOD = bytes([0x15, 0, 0x15, 4, 0x15, 4, 0x2C, 0x15, 6, 0, 0])


@pytest.mark.parametrize(
    "header",
    [
        GOOD[:-1] + bytes([0x25, 4, 0]),  # breaks off
        bytes([0x15, 0, 0x15, 4, 0x05, 4, 4, 0x15, 4, 0x2C, 0x15, 6, 0, 0]),  # the unpacked size again
        bytes([0x15, 0, 0x16, 4, 0x15, 4, 0x2C, 0x15, 6, 0, 0]),  # it as a number of 64 bits, which is another field
        bytes([0x15, 0, 0x15, 3, 0x15, 4, 0x2C, 0x15, 6, 0, 0]),  # below nothing
        bytes([0x15, 0, 0x15, 4, 0x15, 4, 0x2C, 0x05, 0x82, 0x80, 0x08, 6, 0, 0]),  # field 65,537, to some 1
        bytes([0x15, 0, 0x15, 4, 0x15, 4, 0x2C, 0x19, 6, 0, 0]),  # a list
        bytes([0x1C] * 50),  # structs within structs
    ],
)
def test_headers_that_others_read_otherwise_are_refused(header: bytes) -> None:
    good = list(read_page_sizes(io.BytesIO(GOOD + b"xx"), _chunk(len(GOOD) + 2)))
    assert [(page.num_values, page.unpacked_bytes, page.packed_bytes) for page in good] == [(3, 2, 2)]
    with pytest.raises(ValueError, match="page header"):
        list(read_page_sizes(io.BytesIO(header + b"xx"), _chunk(len(header) + 2)))


def test_a_long_header_is_read_whole() -> None:
    long = GOOD[:-2] + bytes([0x48, 0x90, 0x4E]) + b"x" * 10_000 + bytes([0, 0])
    file = io.BytesIO(long + b"xx")
    (page,) = read_page_sizes(file, _chunk(len(long) + 2))
    assert page.num_values == 3
