"""Tensors of a model folder: one `model.safetensors`, or several with an index.

Only safetensors is read. Names, shapes and types come from the files' headers, which the safetensors library checks
against the length of the file, before any tensor is loaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from electrify.errors import CheckpointError
from electrify.files import read_json, refuse_outside

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_HIGHEST_HEADER_BYTES = 16 << 20
"""A header takes some hundred bytes a tensor; the largest published networks have some thousand tensors."""
_LONGEST_NAME = 255
_FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """What a header says of one tensor."""

    path: Path
    """The file that holds it."""
    name: str
    """Its name there."""
    shape: tuple[int, ...]
    dtype: str
    """As safetensors names it: "F32", "BF16", …"""


def read_headers(folder: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a model folder by name, none of them loaded.

    Raises:
        CheckpointError: If there are no safetensors files, one is broken or missing, the index names a file outside
            the folder, or a tensor is there twice or not where the index says.
    """
    single = folder / WEIGHTS_FILE
    if single.is_file():
        return _read_header(single)
    index_path = folder / INDEX_FILE
    if index_path.is_file():
        return _read_sharded(folder, index_path)
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in _PICKLE_SUFFIXES)
    if pickles:
        raise CheckpointError(
            f"{folder}: has {pickles[0]}, a pickle, which can run code and is never opened here, and no {WEIGHTS_FILE}."
            " Convert it where you trust it: load it with Transformers and call save_pretrained."
        )
    raise CheckpointError(f"{folder}: no {WEIGHTS_FILE} and no {INDEX_FILE} in it.")


def read_tensors(stored: dict[str, StoredTensor]) -> Iterator[tuple[str, Tensor]]:
    """Load tensors one after the other, each file opened once, in the type they are stored in.

    Args:
        stored: Which, from `read_headers`, by the names they are wanted under.

    Raises:
        CheckpointError: If a tensor is not of a floating-point type.
    """
    for tensor in stored.values():
        if tensor.dtype not in _FLOAT_TYPES:
            raise CheckpointError(
                f"{tensor.path}: tensor '{tensor.name}' has type {tensor.dtype}; expected one of "
                f"{', '.join(_FLOAT_TYPES)}. Quantized folders cannot be opened here."
            )
    for path in sorted({tensor.path for tensor in stored.values()}):
        with safe_open(path, framework="pt") as file:
            for name, tensor in stored.items():
                if tensor.path == path:
                    yield name, file.get_tensor(tensor.name)


def write_tensors(tensors: dict[str, Tensor], folder: Path) -> None:
    """Write tensors as float32 into the folder's `model.safetensors`, in one step; shared ones once for each name."""
    plain: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        whole = tensor.detach().to("cpu", torch.float32).contiguous()
        plain[name] = whole.clone() if whole.data_ptr() in places else whole
        places.add(whole.data_ptr())
    temporary = folder / f"{WEIGHTS_FILE}.tmp"
    save_file(plain, temporary, metadata={"format": "pt"})
    temporary.replace(folder / WEIGHTS_FILE)


def _read_header(path: Path) -> dict[str, StoredTensor]:
    refuse_outside(path, error=CheckpointError)
    try:
        with path.open("rb") as plain:
            header_bytes = int.from_bytes(plain.read(8), "little")
        if _HIGHEST_HEADER_BYTES < header_bytes <= path.stat().st_size:
            raise CheckpointError(f"{path}: its header has {header_bytes} bytes, over the limit of 16 MiB.")
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            return {
                name: StoredTensor(path, name, tuple(part.get_shape()), part.get_dtype())
                for name, part in slices.items()
            }
    except (SafetensorError, OSError, MemoryError) as problem:  # the last if a huge file cannot be mapped
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({problem}). It may be cut short or damaged; copy it again."
        ) from None


def _read_sharded(folder: Path, index_path: Path) -> dict[str, StoredTensor]:
    refuse_outside(index_path, error=CheckpointError)
    places = read_json(index_path, error=CheckpointError).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index_path}: expected an object 'weight_map' of tensor names and files.")
    for name, file_name in places.items():
        if not _is_plain_name(file_name):
            raise CheckpointError(f"{index_path}: '{name}' is said to be in {file_name!r}, not a file of this folder.")
    stored: dict[str, StoredTensor] = {}
    for file_name in sorted(set(places.values())):
        header = _read_header(folder / file_name)
        twice = sorted(stored.keys() & header.keys())
        if twice:
            raise CheckpointError(f"{folder}: tensor '{twice[0]}' is in two files.")
        stored |= header
    misplaced = [
        name for name, file_name in places.items() if name not in stored or stored[name].path.name != file_name
    ]
    if misplaced:
        raise CheckpointError(f"{index_path}: tensor '{misplaced[0]}' is not in {places[misplaced[0]]}.")
    return stored


def _is_plain_name(file_name: object) -> bool:
    return (
        isinstance(file_name, str)
        and file_name.endswith(".safetensors")
        and Path(file_name).name == file_name
        and "\\" not in file_name
        and file_name.isprintable()
        and len(file_name) <= _LONGEST_NAME
    )
