"""Folders of peers."""

from pathlib import Path

import pytest

from electrify.bench.peers import find_peers
from electrify.errors import ConfigError

PEERS = Path(__file__).parents[2] / "benchmarks/peers"


def write_peer(folder: Path, name: str, *, packages: dict[str, str], contenders: dict[str, tuple[str, ...]]) -> None:
    text = f"PACKAGES = {packages}\nCONTENDERS = {contenders}\nraise RuntimeError('a peer is read, not run')\n"
    (folder / f"{name}.py").write_text(text, encoding="utf-8")


def test_peers_are_found_by_bench_without_being_run(tmp_path: Path) -> None:
    write_peer(tmp_path, "fast", packages={"json": "json"}, contenders={"step": ("fp32", "bf16"), "infer": ("fp32",)})
    write_peer(tmp_path, "other", packages={}, contenders={"prepare": ("",)})
    found, missing = find_peers(tmp_path, "step")
    assert [one.name for one in found] == ["fast fp32", "fast bf16"]
    assert not missing


def test_a_peer_that_is_not_installed_is_named_with_what_to_install(tmp_path: Path) -> None:
    write_peer(tmp_path, "absent", packages={"no_such_module": "no-such-package"}, contenders={"step": ("fp32",)})
    found, missing = find_peers(tmp_path, "step")
    assert not found
    assert (missing[0].name, missing[0].reason) == ("absent fp32", "not installed: pip install no-such-package")


def test_only_the_named_peers_are_taken_and_a_wrong_name_is_an_error(tmp_path: Path) -> None:
    write_peer(tmp_path, "fast", packages={}, contenders={"step": ("fp32", "bf16")})
    found, _ = find_peers(tmp_path, "step", only=["fast bf16"])
    assert [one.name for one in found] == ["fast bf16"]
    with pytest.raises(ConfigError, match="Did you mean 'fast bf16'"):
        find_peers(tmp_path, "step", only=["fast bf61"])


def test_a_folder_without_peers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file here measures 'step'"):
        find_peers(tmp_path, "step")


@pytest.mark.parametrize("bench", ["step", "infer", "prepare", "finetune"])
def test_our_peers_cover_every_bench(bench: str) -> None:
    found, missing = find_peers(PEERS, bench)
    assert found or missing
