import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from electrify.errors import CheckpointError
from electrify.training.checkpoints import State, list_states, load_newest_state, save_state

NETWORKS, MANIFEST = "networks.safetensors", "manifest.json"
FILES = (NETWORKS, "optimizer.safetensors", "state.json", MANIFEST)


def state(step: int) -> State:
    weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(step))
    return State(
        step, {"a.weight": weights, "b": torch.tensor(1e-30)}, {"a.exp_avg": weights.T}, {"seconds": 0.1 + 0.2}
    )


def save(folder: Path, *steps: int, keep_last: int = 10) -> None:
    for step in steps:
        save_state(folder, state(step), keep_last=keep_last)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


DAMAGES = [flip_a_byte, cut_short, Path.unlink, lambda path: path.write_bytes(b"")]


def test_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save(tmp_path, 5)
    loaded, saved = load_newest_state(tmp_path), state(5)
    assert loaded is not None
    assert (loaded.step, loaded.counters) == (5, saved.counters)
    for mine, theirs in ((loaded.networks, saved.networks), (loaded.optimizer, saved.optimizer)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_optimizer_without_state_yet_is_saved_too(tmp_path: Path) -> None:
    save_state(tmp_path, State(1, {"a": torch.ones(2)}, {}, {}), keep_last=1)
    loaded = load_newest_state(tmp_path)
    assert loaded is not None
    assert loaded.optimizer == {}


def test_run_without_states_has_none(tmp_path: Path) -> None:
    assert load_newest_state(tmp_path) is None
    assert load_newest_state(tmp_path / "missing") is None


def test_newest_is_the_highest_step_not_the_last_name(tmp_path: Path) -> None:
    save(tmp_path, 7, 99_999_999, 100_000_000)
    assert [path.name for path in list_states(tmp_path)] == ["step-00000007", "step-99999999", "step-100000000"]
    assert load_newest_state(tmp_path).step == 100_000_000


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, keep_last=2)
    assert [path.name for path in list_states(tmp_path)] == ["step-00000003", "step-00000004"]


def test_damaged_later_state_does_not_push_out_the_new_one(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 9)
    flip_a_byte(tmp_path / "step-00000009" / NETWORKS)
    save(tmp_path, 3, keep_last=1)
    assert [path.name for path in list_states(tmp_path)] == ["step-00000003"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 3, 3)
    assert len(list_states(tmp_path)) == 1
    assert load_newest_state(tmp_path).step == 3


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_state_falls_back_to_the_one_before(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    save(tmp_path, 1, 2)
    damage(tmp_path / "step-00000002" / name)
    assert load_newest_state(tmp_path).step == 1


def test_altered_digest_in_the_manifest_falls_back(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    path = tmp_path / "step-00000002" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"][NETWORKS]["xxh3_128"] = "0" * 32
    path.write_text(json.dumps(manifest))
    assert load_newest_state(tmp_path).step == 1


@pytest.mark.parametrize("content", ['{"files": {}}', '{"files": []}', "{}", "[]"])
def test_manifest_that_names_no_files_falls_back(tmp_path: Path, content: str) -> None:
    save(tmp_path, 1, 2)
    (tmp_path / "step-00000002" / MANIFEST).write_text(content)
    assert load_newest_state(tmp_path).step == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_when_all_states_are_damaged_the_error_names_the_newest_file(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    save(tmp_path, 1, 2)
    for folder in list_states(tmp_path):
        damage(folder / NETWORKS)
    with pytest.raises(CheckpointError, match=r"no usable state.*step-00000002/networks\.safetensors.*--resume"):
        load_newest_state(tmp_path)


def test_leftover_of_a_killed_attempt_is_ignored_and_replaced(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    leftover = tmp_path / "step-00000003.tmp"
    shutil.copytree(tmp_path / "step-00000002", leftover)
    assert load_newest_state(tmp_path).step == 2
    save(tmp_path, 3)
    assert load_newest_state(tmp_path).step == 3
    assert not leftover.exists()


def test_other_things_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "step-notes").mkdir(parents=True)
    save(tmp_path, 1, 2, keep_last=1)
    assert (tmp_path / "step-notes").exists()
    assert load_newest_state(tmp_path).step == 2


def test_nothing_in_a_state_is_a_pickle(tmp_path: Path) -> None:
    save(tmp_path, 1)
    assert sorted(path.name for path in (tmp_path / "step-00000001").iterdir()) == sorted(FILES)
    assert not any(b"torch._utils" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
