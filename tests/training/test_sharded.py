"""Shards that came from elsewhere: what they say is compared with their files before anything is allocated."""

import json
import tracemalloc

import pytest
import torch
from safetensors.torch import save_file

from electrify.errors import CheckpointError
from electrify.training.sharded import is_sharded, read_sharded


def write_shard(folder, offset):
    """One shard of two tensors, as `torch.distributed.checkpoint` writes it."""
    places = {"networks.a": {"saved_offsets": [offset]}, "optimizer.b": {"saved_offsets": [0]}}
    save_file(
        {"networks.a": torch.ones(2), "optimizer.b": torch.ones(3)},
        folder / "shard-00001-model-00001-of-00001.safetensors",
        metadata={"DCP_VERSION": "1.0", "DCP_SHARDING_INFO": json.dumps(places)},
    )


def test_a_whole_shard_is_read(tmp_path):
    write_shard(tmp_path, 0)
    assert is_sharded(tmp_path)
    found = read_sharded(tmp_path)
    assert found["networks"]["a"].tolist() == [1, 1]
    assert found["optimizer"]["b"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("offset", [100, 1 << 40])
def test_a_shard_that_says_it_lies_far_out_is_refused_before_anything_is_allocated(offset, tmp_path):
    write_shard(tmp_path, offset)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="larger than its files"):
            read_sharded(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
