import struct
import tracemalloc

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tensorflow_files import block, handle, table, varint

from electrify.errors import CheckpointError
from electrify.models.tensorflow_table import read_table

ENTRIES = {b"": b"header", b"a/b": b"", b"a/c": b"x" * 300, b"a/c/d": b"\0\1", b"b": b"last"}


def write(tmp_path, data):
    path = tmp_path / "model.index"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("per_block", [1, 2, 5])
def test_keys_and_values_of_all_blocks_are_read(compress, per_block, tmp_path):
    items = list(ENTRIES.items())
    blocks = [block(items[start : start + per_block]) for start in range(0, len(items), per_block)]
    if compress:
        blocks = [pyarrow.compress(content, codec="snappy", asbytes=True) for content in blocks]
    assert read_table(write(tmp_path, table(blocks, kind=int(compress)))) == ENTRIES


@given(st.dictionaries(st.binary(max_size=40), st.binary(max_size=400), max_size=40), st.integers(1, 7))
def test_whatever_was_written_is_read(tmp_path_factory, entries, per_block):
    items = sorted(entries.items())
    blocks = [block(items[start : start + per_block]) for start in range(0, len(items), per_block)]
    assert read_table(write(tmp_path_factory.mktemp("table"), table(blocks))) == entries


ONE = block(ENTRIES.items())
LONG = varint(0) + varint(2000) + varint(0) + b"k" * 2000 + struct.pack("<II", 0, 1)
FLIPPED = bytearray(table([ONE]))
FLIPPED[3] ^= 1
HOSTILE = {
    "empty": (b"", "magic number"),
    "text": (b"model_checkpoint_path" * 10, "magic number"),
    "footer alone": (table([])[-48:], "outside of the file"),
    "block beyond the file": (table([ONE], handles=[handle(1 << 40, 10)]), "outside of the file"),
    "size beyond the file": (table([ONE], handles=[handle(0, 1 << 63)]), "outside of the file"),
    "number of 65 bits": (table([ONE], handles=[b"\xff" * 9 + b"\x7f" + b"\0"]), "more than 64 bits"),
    "number without end": (table([ONE], handles=[b"\xff" * 5]), "cut short"),
    "same block twice": (table([ONE], handles=[handle(0, len(ONE))] * 2), "overlap"),
    "keys that fall": (table([block([(b"b", b""), (b"a", b"")])]), "do not rise"),
    "key twice": (table([block([(b"a", b"")]), block([(b"a", b"")])]), "do not rise"),
    "shared part longer than the key": (table([varint(9) + b"\1\0k" + struct.pack("<II", 0, 1)]), "longer than"),
    "value longer than its block": (table([b"\0\1\x7fk" + struct.pack("<II", 0, 1)]), "longer than its block"),
    "key of 2000 bytes": (table([LONG]), "key is too long"),
    "restarts without end": (table([b"\xff" * 8]), "too short"),
    "block of 3 bytes": (table([b"abc"]), "too short"),
    "unknown compression": (table([ONE], kind=4), "unknown way"),
    "compressed garbage": (table([b"\x20garbage"], kind=1), "damaged"),
    "flipped bit": (bytes(FLIPPED), "checksum"),
    "bomb": (table([varint(1 << 40) + b"x" * 20], kind=1), "would expand"),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_lies_is_refused_in_little_memory(data, message, tmp_path):
    path = write(tmp_path, data)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message) as caught:
            read_table(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "huge.index"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="no index"):
        read_table(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.index: cannot be read"):
        read_table(tmp_path / "none.index")
