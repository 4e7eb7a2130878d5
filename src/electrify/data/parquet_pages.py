"""What the pages of a parquet column say of their sizes, read from where pyarrow will read them.

A file's footer says so too, but pyarrow allocates by the pages, and a hostile footer need not agree with them. Pages'
headers are Thrift structs in the compact protocol (parquet-format, `PageHeader`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_HEADER_BYTES = 1 << 12  # enough for nearly every header; statistics may make one longer
_MAX_HEADER_BYTES = 16 << 20  # what pyarrow reads at most
_MAX_DEPTH = 8  # a header has three levels
_MAX_FIELD = 1 << 15  # above, other readers may take a number for a small one
_NUM_VALUES_FIELD = 1  # in each of the structs that follow
_UNPACKED_FIELD, _PACKED_FIELD = 2, 3
_PAGE_KINDS = (5, 7, 8)  # data, dictionary, data of version 2


@dataclass(frozen=True, slots=True)
class PageSizes:
    """Sizes that one page states."""

    num_values: int
    unpacked_bytes: int
    packed_bytes: int


class _Compact:
    """Thrift's compact protocol, as nested dictionaries from field number to value; raises IndexError at the end."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.place = raw, 0

    def byte(self) -> int:
        self.place += 1
        return self.raw[self.place - 1]

    def unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            part = self.byte()
            value |= (part & 0x7F) << shift
            if part < 0x80:
                return value
        raise ValueError("a number in a page header is too long")

    def signed(self) -> int:
        value = self.unsigned()
        return (value >> 1) ^ -(value & 1)

    def skip(self, num_bytes: int) -> None:
        self.place += num_bytes
        if self.place > len(self.raw):
            raise IndexError

    def struct(self, depth: int = 0) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.signed()
            if number in fields or not 0 < number < _MAX_FIELD:
                raise ValueError("a page header names a field twice")
            fields[number] = self.value(head & 0x0F, depth + 1)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        """Read a value; of numbers only those of 32 bits are kept, as all that matter here are such."""
        if depth > _MAX_DEPTH:
            raise ValueError("a page header is nested too deeply")
        match kind:
            case 1 | 2:  # a boolean is its own type
                return None
            case 3:
                return self.skip(1)
            case 4 | 6:
                self.signed()
                return None
            case 5:
                return self.signed()
            case 7:
                return self.skip(8)
            case 8:
                return self.skip(self.unsigned())
            case 12:
                return self.struct(depth)
        raise ValueError("a page header holds what none has")


def _read_header(file: Any, start: int) -> tuple[dict[int, Any], int]:
    """Return a header's fields and its length in bytes."""
    num_bytes = _HEADER_BYTES
    while True:
        file.seek(start)
        reader = _Compact(file.read(num_bytes))
        try:
            return reader.struct(), reader.place
        except IndexError:
            if len(reader.raw) < num_bytes or num_bytes >= _MAX_HEADER_BYTES:
                raise ValueError("a page header breaks off") from None
            num_bytes *= 16


def _size(fields: Any, number: int) -> int:
    size = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(size, int) or size < 0:
        raise ValueError("a page header does not say how large its page is")
    return size


def read_page_sizes(file: Any, chunk: Any) -> Iterator[PageSizes]:
    """Yield what each page of a column chunk states, in the order in which pyarrow reads them.

    Args:
        file: The parquet file, open for reading, with `seek` and `read`.
        chunk: The chunk's `pyarrow.parquet.ColumnChunkMetaData`.

    Raises:
        ValueError: If a header is not one.
        OSError: If the file can not be read.
    """
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    stop = start + chunk.total_compressed_size
    while start < stop:
        fields, header_bytes = _read_header(file, start)
        kinds = (fields.get(kind) for kind in _PAGE_KINDS)
        num_values = sum(_size(kind, _NUM_VALUES_FIELD) for kind in kinds if kind is not None)
        packed = _size(fields, _PACKED_FIELD)
        yield PageSizes(num_values, _size(fields, _UNPACKED_FIELD), packed)
        start += header_bytes + packed
