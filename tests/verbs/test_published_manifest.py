"""A folder that this package published is checked against its manifest before anything is read."""

import shutil
from pathlib import Path

import pytest
from support.runs import run

from electrify.errors import CheckpointError
from electrify.models.hub import resolve_folder

NAMES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "manifest.json")


@pytest.fixture
def folder(electra_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(electra_run / "discriminator", tmp_path / "model"))


@pytest.mark.parametrize("name", NAMES)
def test_damaged_file_is_named(name: str, folder: Path) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=rf"model/{name}.*manifest\.json" if name[0] != "m" else name):
        resolve_folder(folder)


def test_model_card_may_be_edited_and_the_manifest_removed(folder: Path) -> None:
    (folder / "README.md").write_text("mine")
    assert resolve_folder(folder) == folder
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    (folder / "manifest.json").unlink()
    assert resolve_folder(folder) == folder


def test_run_on_an_altered_shard_manifest_is_refused(shards: Path, tmp_path: Path) -> None:
    from electrify.errors import DataError

    shutil.copytree(shards, tmp_path / "shards")
    path = tmp_path / "shards" / "manifest.json"
    path.write_text(path.read_text().replace('"max_length": 24', '"max_length": 25'))
    with pytest.raises(DataError, match=r"manifest\.json: altered"):
        run(tmp_path / "shards", tmp_path / "run")
