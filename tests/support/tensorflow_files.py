"""Index files of TensorFlow checkpoints, written byte by byte: right ones, and ones that lie with right checksums."""

import struct
from collections.abc import Iterable

from electrify.models.crc32c import crc32c, mask

Entries = Iterable[tuple[bytes, bytes]]


def varint(number: int) -> bytes:
    result = bytearray()
    while number >= 0x80:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*result, number])


def block(entries: Entries) -> bytes:
    """Entries with the shared beginnings of their keys left out, as LevelDB writes them."""
    content, last = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return content + struct.pack("<II", 0, 1)


def sealed(content: bytes, *, kind: int = 0) -> bytes:
    """A block with its kind of compression and its checksum."""
    return content + bytes([kind]) + struct.pack("<I", mask(crc32c(content + bytes([kind]))))


def handle(offset: int, size: int) -> bytes:
    return varint(offset) + varint(size)


def table(blocks: Iterable[bytes], *, kind: int = 0, handles: list[bytes] | None = None) -> bytes:
    """A whole file from the contents of its blocks.

    Args:
        blocks: As `block` makes them, perhaps compressed.
        kind: Of their compression.
        handles: What the index says of where they are, if not the truth.
    """
    data, places = b"", []
    for content in blocks:
        places.append(handle(len(data), len(content)))
        data += sealed(content, kind=kind)
    places = places if handles is None else handles
    empty, index = block([]), block([(b"%06d" % number, place) for number, place in enumerate(places)])
    footer = handle(len(data), len(empty)) + handle(len(data) + len(empty) + 5, len(index))
    return data + sealed(empty) + sealed(index) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def field(number: int, value: int | bytes, *, fixed: bool = False) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if fixed:
        return varint(number << 3 | 5) + struct.pack("<I", value)
    return varint(number << 3) + varint(value)


def header(num_files: int = 1) -> tuple[bytes, bytes]:
    return b"", field(1, num_files)


def entry(
    name: bytes,
    shape: Iterable[int],
    *,
    offset: int = 0,
    num_bytes: int,
    dtype: int = 1,
    file: int = 0,
    more: bytes = b"",
) -> tuple[bytes, bytes]:
    sizes = b"".join(field(2, field(1, size)) for size in shape)
    place = (
        field(3, file)
        + field(4, offset)
        + field(5, num_bytes)
        + field(6, mask(crc32c(bytes(num_bytes % 64))), fixed=True)
    )
    return name, field(1, dtype) + field(2, sizes) + place + more
