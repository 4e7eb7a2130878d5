"""Checkpoints written by TensorFlow 2.15 (see tests/support/make_tensorflow_fixture.py), and ones that lie."""

import contextlib
import random
import shutil
import tracemalloc
from pathlib import Path

import pytest
import torch
from support.tensorflow_files import block, entry, field, header, table

from electrify.errors import CheckpointError
from electrify.models.tensorflow_bundle import find_checkpoint, read_bundle, read_bundle_tensor

CHECKPOINTS = Path(__file__).parent / "tensorflow"
NAMES = ("shared", "untied")


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the checkpoint with two data files, to be damaged."""
    shutil.copytree(CHECKPOINTS / "untied", tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def read_all(folder):
    tensors = read_bundle(find_checkpoint(folder))
    return {name: read_bundle_tensor(tensor) for name, tensor in tensors.items()}


def crafted(folder, *entries, size=64, first=None):
    """Write a checkpoint of these entries over a data file of zeros."""
    items = [header() if first is None else first, *entries]
    (folder / "model.index").write_bytes(table([block(items)]))
    (folder / "model.data-00000-of-00001").write_bytes(bytes(size))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_of_a_real_checkpoint_passes_its_checksum(name):
    tensors = read_all(CHECKPOINTS / name)
    assert len(tensors) == {"shared": 247, "untied": 67}[name]
    assert tensors["electra/embeddings/word_embeddings"].shape == (41, {"shared": 10, "untied": 24}[name])
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_counters_are_numbers_without_dimensions():
    step = read_all(CHECKPOINTS / "shared")["global_step"]
    assert step.dtype == torch.int64
    assert step.item() == 2


def test_several_data_files_are_read():
    files = {tensor.path.name for tensor in read_bundle(CHECKPOINTS / "untied/model.ckpt-2").values()}
    assert files == {"model.ckpt-2.data-00000-of-00002", "model.ckpt-2.data-00001-of-00002"}


@pytest.mark.parametrize("name", ["model.ckpt-2", "model.ckpt-2.index", ""])
def test_a_checkpoint_is_found_by_prefix_index_and_folder(name):
    assert find_checkpoint(CHECKPOINTS / "shared" / name) == CHECKPOINTS / "shared/model.ckpt-2"


def test_of_several_in_a_folder_the_latest_is_taken(checkpoint):
    shutil.copy(checkpoint / "model.ckpt-2.index", checkpoint / "model.ckpt-1.index")
    assert find_checkpoint(checkpoint).name == "model.ckpt-2"
    (checkpoint / "checkpoint").write_text('model_checkpoint_path: "../../elsewhere/model.ckpt-2"\n')
    with pytest.raises(CheckpointError, match=r"not one .*model\.ckpt-1, model\.ckpt-2\. Name one"):
        find_checkpoint(checkpoint)


def test_a_missing_checkpoint_names_the_nearest(checkpoint):
    with pytest.raises(CheckpointError, match=r"no TensorFlow checkpoint.*Did you mean 'model\.ckpt-2'"):
        find_checkpoint(checkpoint / "model.ckpt-3")
    with pytest.raises(CheckpointError, match=r"no \.index file"):
        find_checkpoint(checkpoint.parent)


def test_a_missing_data_file_is_named(checkpoint):
    (checkpoint / "model.ckpt-2.data-00001-of-00002").unlink()
    with pytest.raises(CheckpointError, match=r"data-00001-of-00002: cannot be read"):
        read_bundle(checkpoint / "model.ckpt-2")


def test_types_that_are_no_numbers_are_left_out(tmp_path):
    folder = crafted(tmp_path, entry(b"name", [1], num_bytes=5, dtype=7), entry(b"number", [2], offset=8, num_bytes=8))
    assert list(read_bundle(find_checkpoint(folder))) == ["number"]


def test_a_tensor_without_elements_is_read(tmp_path):
    folder = crafted(tmp_path, entry(b"none", [0, 3], num_bytes=0))
    assert read_all(folder)["none"].shape == (0, 3)


SLICE = field(7, field(1, b""))
LIES = {
    "shape larger than its bytes": ([entry(b"a", [1 << 40], num_bytes=64)], "said to have 64 bytes"),
    "shape and bytes larger than the file": ([entry(b"a", [1 << 40], num_bytes=4 << 40)], "which has 64"),
    "shape that overflows": ([entry(b"a", [1 << 62, 1 << 62], num_bytes=0)], "said to have 0 bytes"),
    "negative size": ([entry(b"a", [(1 << 64) - 1], num_bytes=4)], "impossible shape"),
    "negative sizes that multiply to one": ([entry(b"a", [(1 << 64) - 1] * 2, num_bytes=4)], "impossible shape"),
    "nine dimensions": ([entry(b"a", [1] * 9, num_bytes=4)], "impossible shape"),
    "place beyond the file": ([entry(b"a", [4], offset=60, num_bytes=16)], "ends at byte 76"),
    "place beyond every file": ([entry(b"a", [4], offset=(1 << 64) - 16, num_bytes=16)], "ends at byte"),
    "same bytes twice": ([entry(b"a", [8], num_bytes=32), entry(b"b", [8], num_bytes=32)], "overlaps"),
    "half of the same bytes": ([entry(b"a", [8], num_bytes=32), entry(b"b", [8], offset=28, num_bytes=32)], "overlaps"),
    "file that is not there": ([entry(b"a", [1], num_bytes=4, file=1)], "data file 1 of 1"),
    "slices": ([entry(b"a", [1], num_bytes=4, more=SLICE)], "stored in slices"),
    "name that is no text": ([entry(b"\xff", [1], num_bytes=4)], "not UTF-8"),
    "entry that is no protocol buffer": ([(b"a", b"\x0b\x0b")], "no protocol buffer"),
    "entry cut short": ([(b"a", b"\x12\x7f")], "cut short"),
    "field of another kind": ([(b"a", field(1, 1) + field(4, b"far"))], "not a number"),
    "shape of another kind": ([(b"a", field(1, 1) + field(2, 5))], "no shape"),
}


@pytest.mark.parametrize(("entries", "message"), LIES.values(), ids=LIES)
def test_an_index_that_lies_is_refused_in_little_memory(entries, message, tmp_path):
    folder = crafted(tmp_path, *entries)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message) as caught:
            read_bundle(find_checkpoint(folder))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert "model.index" in str(caught.value)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ((b"", b""), "says that there are 0 data files"),
        (header(1 << 40), "data files"),
        (header(99_999), "data-00000-of-99999: cannot be read"),
        ((b"", field(1, b"one")), "data files"),
        ((b"", field(1, 1) + field(2, 1)), "big-endian"),
        ((b"0", field(1, 1)), "no header"),
    ],
)
def test_a_header_that_lies_is_refused(first, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        read_bundle(find_checkpoint(crafted(tmp_path, first=first)))


def test_wrong_bytes_are_found_by_their_checksum(tmp_path):
    folder = crafted(tmp_path, entry(b"a", [4], num_bytes=16))
    assert read_all(folder)["a"].tolist() == [0] * 4
    data = folder / "model.data-00000-of-00001"
    data.write_bytes(b"\1" + data.read_bytes()[1:])
    with pytest.raises(CheckpointError, match=r"data-00000-of-00001: the checksum of tensor 'a'"):
        read_all(folder)


def damaged(draw, data):
    """Bytes with one thing wrong: a flipped bit, an end cut off, a piece doubled, left out or overwritten."""
    place = draw.randrange(len(data))
    piece = data[place : place + draw.randint(1, 40)]
    other = draw.randrange(len(data))
    return draw.choice(
        [
            data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :],
            data[:place],
            data[:other] + piece + data[other:],
            data[:place] + data[place + len(piece) :],
            data[:place] + draw.randbytes(len(piece)) + data[place + len(piece) :],
        ]
    )


FILES = ("model.ckpt-2.index", "model.ckpt-2.data-00000-of-00002", "model.ckpt-2.data-00001-of-00002")


@pytest.mark.parametrize("name", FILES)
def test_damage_anywhere_is_an_error_or_changes_nothing(name, checkpoint):
    """300 cases a file. Bytes that mean nothing, as the footer's padding, may change."""
    whole = (checkpoint / name).read_bytes()
    expected = read_all(checkpoint)
    draw = random.Random(name)
    num_refused = 0
    for _ in range(300):
        (checkpoint / name).write_bytes(damaged(draw, whole))
        with contextlib.suppress(CheckpointError):
            tensors = read_all(checkpoint)
            assert tensors.keys() == expected.keys()
            assert all(torch.equal(tensor, expected[key]) for key, tensor in tensors.items())
            continue
        with pytest.raises(CheckpointError, match=r"^[^\n]*model\.ckpt-2\.[^\n]*$"):
            read_all(checkpoint)
        num_refused += 1
    assert num_refused > 270


def test_an_index_cut_anywhere_is_refused(checkpoint):
    path = checkpoint / "model.ckpt-2.index"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_bundle(checkpoint / "model.ckpt-2")
