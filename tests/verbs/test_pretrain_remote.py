from pathlib import Path

import fsspec
import pytest
from support.corpora import write_shards
from support.runs import run, tensors


def test_a_run_on_a_bucket_trains_the_networks_of_a_run_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTRIFY_CACHE", str(tmp_path / "cache"))
    shards = write_shards(tmp_path / "data")
    bucket = fsspec.filesystem("memory")
    bucket.put(str(shards), "/runs/shards", recursive=True)
    try:
        run(shards, tmp_path / "local")
        run("memory://runs/shards", tmp_path / "remote")
    finally:
        bucket.rm("/runs", recursive=True)
    local, remote = tensors(tmp_path / "local"), tensors(tmp_path / "remote")
    assert local.keys() == remote.keys()
    assert all(local[name].equal(remote[name]) for name in local)
