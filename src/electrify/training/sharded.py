"""Tensors of a saved state that lie in parts on several processes, one safetensors file each.

Written and read by `torch.distributed.checkpoint` with its safetensors storage, so nothing is pickled and any number of
processes, or one, can read what another number wrote.
"""

import warnings
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from electrify.errors import CheckpointError

_PARTS = ("networks", "optimizer")


def start_writing(
    folder: Path, networks: dict[str, Tensor], optimizer: dict[str, Tensor], *, group: dist.ProcessGroup
) -> Future[Any]:
    """Copy this process's shards and write them while training goes on; all processes must call it.

    Args:
        folder: The same for all; exists.
        networks: Parameters by name, sharded or not.
        optimizer: Means by name, sharded or not.
        group: All processes, in a group of gloo's that nothing else uses.

    Returns:
        What is done when the shards of all processes are written.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter  # seconds that few runs need
    from torch.distributed.checkpoint.state_dict_saver import async_save

    tensors = {f"{part}.{name}": tensor.detach() for part, group in zip(_PARTS, (networks, optimizer), strict=True)
               for name, tensor in group.items()}  # fmt: skip
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    written = async_save(tensors, storage_writer=writer, process_group=group)
    assert isinstance(written, Future)
    return written


def is_sharded(folder: Path) -> bool:
    """Return whether a state holds shards."""
    return any(folder.glob("shard-*.safetensors"))


def read_sharded(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Return the whole tensors of a state on the CPU, as "networks" and "optimizer"; each process reads them all.

    Raises:
        CheckpointError: If the tensors would be larger than the files.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    found = {
        name: entry
        for name, entry in reader.read_metadata().state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    num_bytes = sum(entry.size.numel() * entry.properties.dtype.itemsize for entry in found.values())
    if num_bytes > sum(path.stat().st_size for path in folder.glob("*.safetensors")):  # sizes are only said there
        raise CheckpointError(f"{folder}: its tensors would be larger than its files.")
    tensors = {name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in found.items()}
    with warnings.catch_warnings(action="ignore"):  # torch wonders whether one process alone is meant; it is
        load(tensors, storage_reader=reader, no_dist=True)
    return {
        part: {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
        for part in _PARTS
    }
