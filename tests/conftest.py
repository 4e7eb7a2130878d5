"""Fixtures that several tests share. One thread: tiny networks are faster so, and sums have one order."""

from pathlib import Path

import pytest
import torch
from support.corpora import write_examples, write_shards
from support.runs import run

from electrify import progress

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _progress_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn progress off, and off again after a test whose command line turned it on."""
    monkeypatch.setattr(progress, "_is_enabled", False)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of a small language that can be learned, with a validation part."""
    return write_shards(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def electra_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ten steps; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "electra"
    run(shards, folder, body="electra")
    return folder


@pytest.fixture(scope="session")
def modernbert_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ten steps; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "modernbert"
    run(shards, folder, body="modernbert")
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of labelled examples: train, validation and test."""
    folder = tmp_path_factory.mktemp("labelled")
    sizes = {"train": 96, "validation": 24, "test": 24}
    return {
        part: write_examples(folder / f"{part}.jsonl", num_examples=size, seed=seed)
        for seed, (part, size) in enumerate(sizes.items())
    }
