import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from electrify.errors import CheckpointError
from electrify.models.weights import read_headers, read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}


def write_raw(folder, header, data=b"", *, header_bytes=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = struct.pack("<Q", len(text) if header_bytes is None else header_bytes)
    (folder / "model.safetensors").write_bytes(length + text + data)


def entry(begin, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def test_what_was_written_is_read(tmp_path):
    write_tensors(TENSORS, tmp_path)
    stored = read_headers(tmp_path)
    assert {name: tensor.shape for name, tensor in stored.items()} == {"a": (2, 3), "b": (4,)}
    for name, tensor in read_tensors(stored):
        assert torch.equal(tensor, TENSORS[name])
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_views_are_written_as_they_look(tmp_path):
    write_tensors({"turned": TENSORS["a"].T, "again": TENSORS["a"]}, tmp_path)
    assert torch.equal(dict(read_tensors(read_headers(tmp_path)))["turned"], TENSORS["a"].T)


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04pickle"),
        lambda folder: write_raw(folder, {"a": entry(0, 4)}, b"\0" * 3),
        lambda folder: write_raw(folder, {"a": entry(0, 4)}, b"\0" * 5),
        lambda folder: write_raw(folder, {"a": entry(0, 4, shape=(1 << 40,))}, b"\0" * 4),
        lambda folder: write_raw(folder, {"a": entry(0, 4, shape=(1 << 63, 1 << 63))}, b"\0" * 4),
        lambda folder: write_raw(folder, {"a": entry(0, 4, shape=(-1,))}, b"\0" * 4),
        lambda folder: write_raw(folder, {"a": entry(0, 4), "b": entry(2, 6)}, b"\0" * 6),
        lambda folder: write_raw(folder, {"a": entry(0, 4), "b": entry(6, 10)}, b"\0" * 10),
        lambda folder: write_raw(folder, {"a": entry(4, 0)}, b"\0" * 4),
        lambda folder: write_raw(folder, {"a": entry(0, 4, dtype="F33")}, b"\0" * 4),
        lambda folder: write_raw(folder, {"a": {"dtype": "F32"}}, b"\0" * 4),
        lambda folder: write_raw(folder, b"{not json", b"\0" * 4),
        lambda folder: write_raw(folder, b"\xff\xfe{}", b"\0" * 4),
        lambda folder: write_raw(folder, {}, header_bytes=1 << 62),
        lambda folder: write_raw(folder, {}, header_bytes=200_000_000),
    ],
    ids=[
        "empty",
        "pickle by another name",
        "cut short",
        "too long",
        "shape larger than its data",
        "shape that overflows",
        "negative size",
        "overlap",
        "hole",
        "end before beginning",
        "unknown type",
        "fields missing",
        "no JSON",
        "no UTF-8",
        "header longer than the file",
        "header over the limit",
    ],
)
def test_malformed_file_is_refused_by_name(write, tmp_path):
    write(tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a whole safetensors file"):
        read_headers(tmp_path)


def test_file_cut_anywhere_is_refused(tmp_path):
    write_tensors(TENSORS, tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_headers(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickle_is_never_opened_and_the_way_out_is_named(name, tmp_path):
    (tmp_path / name).write_bytes(b"whatever")
    with pytest.raises(CheckpointError, match=f"{name}, a pickle.*Convert it"):
        read_headers(tmp_path)


def test_folder_without_weights_says_what_was_expected(tmp_path):
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        read_headers(tmp_path)


def write_shards(folder, places, shards):
    for name, tensors in shards.items():
        save_file(tensors, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def test_shards_are_read_as_one(tmp_path):
    write_shards(
        tmp_path,
        {"a": "1.safetensors", "b": "2.safetensors"},
        {"1.safetensors": {"a": TENSORS["a"]}, "2.safetensors": {"b": TENSORS["b"]}},
    )
    tensors = dict(read_tensors(read_headers(tmp_path)))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize(
    "file_name",
    ["../1.safetensors", "/tmp/1.safetensors", "sub/1.safetensors", "..\\1.safetensors", "1.bin", "", 3, None],
)
def test_index_that_points_elsewhere_is_refused(file_name, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": TENSORS["a"]}, tmp_path / "1.safetensors")
    write_shards(folder, {"a": file_name}, {})
    with pytest.raises(CheckpointError, match="not a file of this folder"):
        read_headers(folder)


@pytest.mark.parametrize(
    ("places", "shards", "message"),
    [
        ({"a": "1.safetensors"}, {}, r"1\.safetensors: not a whole"),
        ({}, {}, "weight_map"),
        (["a"], {}, "weight_map"),
        (
            {"a": "1.safetensors", "b": "1.safetensors"},
            {"1.safetensors": {"a": TENSORS["a"]}},
            r"'b' is not in 1\.safetensors",
        ),
        (
            {"a": "1.safetensors", "b": "2.safetensors"},
            {"1.safetensors": TENSORS, "2.safetensors": {"b": TENSORS["b"]}},
            "'b' is in two files",
        ),
    ],
    ids=["shard missing", "empty", "no object", "tensor not there", "tensor twice"],
)
def test_index_that_does_not_fit_its_shards_is_refused(places, shards, message, tmp_path):
    write_shards(tmp_path, places, shards)
    with pytest.raises(CheckpointError, match=message):
        read_headers(tmp_path)
