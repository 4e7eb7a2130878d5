"""Tensors of a TensorFlow checkpoint, read without TensorFlow.

`NAME.index` is a table (`tensorflow_table`) of tensor names and, as protocol buffers, where each tensor lies in
`NAME.data-00000-of-00001` and on; under the empty name it holds how many of these files there are. A tensor is its
plain little-endian values. Source: TensorFlow, core/protobuf/tensor_bundle.proto and core/util/tensor_bundle.

The files are not trusted. Places and sizes are compared with the shapes and with the files when the index is opened, no
two tensors may overlap, and so nothing larger than the files is ever allocated; checksums are compared when a tensor is
read.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from electrify.errors import CheckpointError, did_you_mean
from electrify.models.crc32c import crc32c, mask
from electrify.models.tensorflow_table import MalformedError, read_table, read_varint

_HEADER = b""
_TYPES = {1: torch.float32, 2: torch.float64, 9: torch.int64, 14: torch.bfloat16, 19: torch.float16, 3: torch.int32}
"""Numbers of types in TensorFlow's types.proto, of those that a checkpoint of ours could hold."""
_HIGHEST_FILES = 99_999
_HIGHEST_DIMENSIONS = 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Kinds of fields in a protocol buffer; groups, 3 and 4, are not used any more."""

Field = int | bytes


@dataclass(frozen=True, slots=True)
class BundleTensor:
    """What the index says of one tensor."""

    path: Path
    """The file that holds it."""
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int
    """First byte in the file."""
    num_bytes: int
    checksum: int
    """Masked CRC-32C of its bytes."""


def find_checkpoint(path: Path) -> Path:
    """Return the prefix of a checkpoint's files, as `folder/model.ckpt-1000`.

    Args:
        path: The prefix, its `.index`, or a folder with one checkpoint, or with several and a file `checkpoint` that
            says which is the latest.

    Raises:
        CheckpointError: If there is none, or several and nothing says which.
    """
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) == 1:
            return found[0].with_suffix("")
        latest = _latest(path / "checkpoint")
        if latest in [one.stem for one in found]:
            return path / latest
        names = ", ".join(one.stem for one in found[:5]) or "no .index file"
        raise CheckpointError(
            f"{path}: not one TensorFlow checkpoint but: {names}. Name one, as {path}/model.ckpt-1000."
        )
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not prefix.with_name(prefix.name + ".index").is_file():
        near = did_you_mean(prefix.name, [one.stem for one in prefix.parent.glob("*.index")])
        raise CheckpointError(
            f"{prefix}: no TensorFlow checkpoint of this name ({prefix.name}.index is missing).{near}"
        )
    return prefix


def read_bundle(prefix: Path) -> dict[str, BundleTensor]:
    """Return the tensors of a checkpoint by name, none of them loaded. Types that are no numbers are left out.

    Args:
        prefix: As `find_checkpoint` returns it.

    Raises:
        CheckpointError: If a file is missing, cut short or damaged, or the index says what cannot be.
    """
    index = prefix.with_name(prefix.name + ".index")
    table = read_table(index)
    try:
        files = _data_files(prefix, table.pop(_HEADER, None))
        sizes = [path.stat().st_size for path in files]
        tensors = [tensor for key, value in table.items() if (tensor := _read_entry(key, value, files)) is not None]
        _check_places(tensors, dict(zip(files, sizes, strict=True)))
    except MalformedError as problem:
        raise CheckpointError(f"{index}: {problem}.") from None
    except OSError as problem:
        raise CheckpointError(
            f"{problem.filename}: cannot be read ({problem.strerror}). The checkpoint has it."
        ) from None
    return {tensor.name: tensor for tensor in tensors}


def read_bundle_tensor(tensor: BundleTensor) -> Tensor:
    """Load one tensor and compare its checksum.

    Raises:
        CheckpointError: If its bytes are not what was written.
    """
    try:
        with tensor.path.open("rb") as file:
            file.seek(tensor.offset)
            data = bytearray(file.read(tensor.num_bytes))
    except OSError as problem:
        raise CheckpointError(f"{tensor.path}: cannot be read ({problem.strerror}).") from None
    if len(data) != tensor.num_bytes or mask(crc32c(memoryview(data))) != tensor.checksum:
        raise CheckpointError(
            f"{tensor.path}: the checksum of tensor '{tensor.name}' does not fit. The file is damaged; copy it again."
        )
    values = torch.from_numpy(np.frombuffer(data, dtype=np.uint8)) if data else torch.zeros(0, dtype=torch.uint8)
    return values.view(tensor.dtype).reshape(tensor.shape)


def _latest(path: Path) -> str:
    if not path.is_file():
        return ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model_checkpoint_path":
            return value.strip().strip('"')
    return ""


def _data_files(prefix: Path, header: bytes | None) -> list[Path]:
    if header is None:
        raise MalformedError("has no header, so it is not the index of a checkpoint")
    fields = dict(_fields(header))
    if fields.get(2, 0) != 0:
        raise MalformedError("was written on a machine with big-endian numbers, which is not supported")
    count = fields.get(1, 0)
    if not isinstance(count, int) or not 1 <= count <= _HIGHEST_FILES:
        raise MalformedError(f"says that there are {count!r} data files")
    first = prefix.with_name(f"{prefix.name}.data-00000-of-{count:05}")
    first.stat()  # before thousands of names are made on the word of the header
    return [prefix.with_name(f"{prefix.name}.data-{number:05}-of-{count:05}") for number in range(count)]


def _read_entry(key: bytes, value: bytes, files: list[Path]) -> BundleTensor | None:
    try:
        name = key.decode()
    except UnicodeDecodeError:
        raise MalformedError("a tensor's name is not UTF-8") from None
    fields: dict[int, Field] = {}
    for number, field in _fields(value):
        if number == 7:
            raise MalformedError(f"tensor '{name}' is stored in slices, which is not supported")
        fields[number] = field
    dtype = _TYPES.get(_whole(fields, 1))
    if dtype is None:
        return None
    shape = _read_shape(fields.get(2, b""), name)
    file_number, offset, num_bytes = _whole(fields, 3), _whole(fields, 4), _whole(fields, 5)
    if num_bytes != math.prod(shape) * dtype.itemsize:
        raise MalformedError(f"tensor '{name}' of shape {list(shape)} is said to have {num_bytes} bytes")
    if file_number >= len(files):
        raise MalformedError(f"tensor '{name}' is said to lie in data file {file_number} of {len(files)}")
    return BundleTensor(files[file_number], name, shape, dtype, offset, num_bytes, _whole(fields, 6))


def _read_shape(data: Field, name: str) -> tuple[int, ...]:
    if not isinstance(data, bytes):
        raise MalformedError(f"tensor '{name}' has no shape")
    sizes = []
    for number, field in _fields(data):
        if number == 2 and isinstance(field, bytes):
            sizes.append(_whole(dict(_fields(field)), 1))
    if len(sizes) > _HIGHEST_DIMENSIONS or any(size >= 1 << 63 for size in sizes):
        raise MalformedError(f"tensor '{name}' has an impossible shape")
    return tuple(sizes)


def _whole(fields: dict[int, Field], number: int) -> int:
    value = fields.get(number, 0)  # a field of value 0 is not written
    if not isinstance(value, int):
        raise MalformedError(f"field {number} of an entry is not a number")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Field]]:
    """Yield the numbers and values of a protocol buffer's fields."""
    place = 0
    while place < len(data):
        tag, place = read_varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = read_varint(data, place)
            yield number, value
            continue
        if kind == _BYTES:
            length, place = read_varint(data, place)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise MalformedError("an entry is no protocol buffer")
        content = data[place : place + length]
        if len(content) != length:
            raise MalformedError("an entry is cut short")
        place += length
        yield number, content if kind == _BYTES else struct.unpack("<I" if length == 4 else "<Q", content)[0]


def _check_places(tensors: list[BundleTensor], sizes: dict[Path, int]) -> None:
    free_from = dict.fromkeys(sizes, 0)
    for tensor in sorted(tensors, key=lambda one: (one.path, one.offset, one.num_bytes)):
        end = tensor.offset + tensor.num_bytes
        if end > sizes[tensor.path]:
            raise MalformedError(
                f"tensor '{tensor.name}' ends at byte {end} of {tensor.path.name}, which has {sizes[tensor.path]}"
            )
        if tensor.offset < free_from[tensor.path]:
            raise MalformedError(f"tensor '{tensor.name}' overlaps another one")
        free_from[tensor.path] = end
