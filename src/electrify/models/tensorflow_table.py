"""The sorted table of keys and values in a TensorFlow checkpoint's `.index`: LevelDB's, read without either.

    block … block · metaindex block · index block · footer (48 bytes: two block handles, padding, a magic number)

A block is a run of entries whose keys leave out what they share with the key before, then the places where nothing is
left out, then a byte for the kind of compression and a masked CRC-32C. Source: LevelDB, doc/table_format.md and
table/block_builder.cc. The file is not trusted: every length is compared with what is there before it is used, every
checksum is compared, blocks may not overlap and keys must rise, so the work is bounded by the file's length.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow

from electrify.errors import CheckpointError
from electrify.models.crc32c import crc32c, mask

_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
_MAGIC = 0xDB4775248B80FB57
_HIGHEST_FILE_BYTES = 8 << 20  # 24 layers of both networks and Adam's means take 0.2 MB
_HIGHEST_KEY_BYTES = 1024
_HIGHEST_ENTRIES = 100_000
_HIGHEST_EXPANSION = 32  # snappy's densest code stands for 64 bytes in 3
_PLAIN, _SNAPPY = 0, 1
_HIGHEST_VARINT_BYTES = 10


class MalformedError(Exception):
    """What is read is not what the format says; the reader of the file adds its name."""


def read_table(path: Path) -> dict[bytes, bytes]:
    """Return all keys and values of a table.

    Raises:
        CheckpointError: If the file cannot be read, is no table, or is damaged.
    """
    try:
        if path.stat().st_size > _HIGHEST_FILE_BYTES:
            raise CheckpointError(f"{path}: over {_HIGHEST_FILE_BYTES >> 20} MiB, which is no index of a checkpoint.")
        data = path.read_bytes()
    except OSError as problem:
        raise CheckpointError(f"{path}: cannot be read ({problem.strerror}).") from None
    try:
        return _entries(data)
    except MalformedError as problem:
        raise CheckpointError(
            f"{path}: not a whole TensorFlow index ({problem}). It may be cut short or damaged; copy it again."
        ) from None


def read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, lowest first.

    Returns:
        The number, below 2⁶⁴, and the place behind it.

    Raises:
        MalformedError: If the data ends in it, or it is longer than 64 bits.
    """
    number = 0
    for count in range(_HIGHEST_VARINT_BYTES):
        if place + count >= len(data):
            raise MalformedError("a number is cut short")
        byte = data[place + count]
        number |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if number >= 1 << 64:
                break
            return number, place + count + 1
    raise MalformedError("a number has more than 64 bits")


def _entries(data: bytes) -> dict[bytes, bytes]:
    end = len(data) - _FOOTER_BYTES
    if end < 0 or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise MalformedError("the magic number at its end is missing")
    footer = data[end:]
    _, place = _read_handle(footer, 0)
    index, _ = _read_handle(footer, place)
    entries: dict[bytes, bytes] = {}
    last, free_from = None, 0
    for _, value in _block_entries(_block(data, *index)):
        (offset, size), _ = _read_handle(value, 0)
        if offset < free_from:
            raise MalformedError("its blocks overlap")
        free_from = offset + size + _TRAILER_BYTES
        for key, content in _block_entries(_block(data, offset, size)):
            if last is not None and key <= last:
                raise MalformedError("its keys do not rise")
            entries[key] = content
            last = key
        if len(entries) > _HIGHEST_ENTRIES:
            raise MalformedError(f"over {_HIGHEST_ENTRIES} entries")
    return entries


def _read_handle(data: bytes, place: int) -> tuple[tuple[int, int], int]:
    offset, place = read_varint(data, place)
    size, place = read_varint(data, place)
    return (offset, size), place


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        raise MalformedError("a block lies outside of the file")
    stored = int.from_bytes(data[end + 1 : end + _TRAILER_BYTES], "little")
    if mask(crc32c(data[offset : end + 1])) != stored:
        raise MalformedError("the checksum of a block does not fit")
    kind, content = data[end], data[offset:end]
    if kind == _PLAIN:
        return content
    if kind == _SNAPPY:
        return _expand(content)
    raise MalformedError(f"a block is compressed in an unknown way, {kind}")


def _expand(content: bytes) -> bytes:
    num_bytes, _ = read_varint(content, 0)
    if num_bytes > _HIGHEST_EXPANSION * len(content):
        raise MalformedError(f"a block would expand to {num_bytes} bytes")
    try:
        expanded: bytes = pyarrow.Codec("snappy").decompress(content, decompressed_size=num_bytes, asbytes=True)
    except (pyarrow.ArrowException, OSError):
        raise MalformedError("a compressed block is damaged") from None
    return expanded


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise MalformedError("a block is too short")
    num_restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (num_restarts + 1)
    if end < 0:
        raise MalformedError("a block is too short")
    place, key = 0, b""
    while place < end:
        num_shared, place = read_varint(block, place)
        num_new, place = read_varint(block, place)
        num_value, place = read_varint(block, place)
        value_place = place + num_new
        if num_shared > len(key) or value_place + num_value > end:
            raise MalformedError("an entry is longer than its block")
        if num_shared + num_new > _HIGHEST_KEY_BYTES:
            raise MalformedError("a key is too long")
        key = key[:num_shared] + block[place:value_place]
        place = value_place + num_value
        yield key, block[value_place:place]
