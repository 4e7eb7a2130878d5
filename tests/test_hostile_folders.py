"""Folders that were made to do harm are refused in one line, in little time, and the code in them does not run.

The cases are those of benchmarks/faults/hostile_folders.py, which also measures memory, each in a process of its own.
"""

import ast
import sys
import time
from pathlib import Path

import pytest

import electrify
from electrify.cli.app import fail
from electrify.errors import ElectrifyError, did_you_mean
from electrify.files import refuse_outside

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks/faults"))
from hostile_case import proof_of  # noqa: E402
from hostile_folders import cases, make_good_folders, open_folder, plant  # noqa: E402

CASES = {f"{case.kind}: {case.name}": case for case in cases()}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    make_good_folders(folder)
    return folder


def test_every_case_has_a_name_of_its_own():
    assert len(CASES) == len(cases()) > 250


@pytest.mark.parametrize("start", ["electra", "modernbert", "run"])
def test_the_folders_they_start_from_open(start, good):
    open_folder(start, good / start)


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_one_line_and_nothing_runs(name, good, tmp_path):
    case = CASES[name]
    folder = plant(case, good, tmp_path)
    started = time.monotonic()
    if case.opens:
        open_folder(case.start, folder)
    else:
        with pytest.raises(ElectrifyError) as caught:
            open_folder(case.start, folder)
        assert "\n" not in str(caught.value)
        assert str(folder) in str(caught.value)
    assert time.monotonic() - started < 5
    assert not proof_of(folder).exists()


def test_the_planted_code_would_run_if_it_were_unpickled(good, tmp_path):
    import pickle

    folder = plant(CASES["pickle: model.pkl in place of the weights"], good, tmp_path)
    pickle.loads((folder / "model.pkl").read_bytes())
    assert proof_of(folder).exists()


def test_no_module_can_unpickle_or_run_what_a_file_says():
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib", "imp", "runpy", "trust_remote_code"}
    for path in Path(electrify.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile", "__import__", "torch.load"), path
                assert not any(word.arg in ("trust_remote_code", "allow_pickle") for word in node.keywords), path


def test_links_of_the_hubs_cache_are_followed(tmp_path):
    snapshot, blobs = tmp_path / "models--a--b/snapshots/1234", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "5678").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/5678")
    refuse_outside(snapshot / "config.json", error=ElectrifyError)
    (snapshot / "tokenizer.json").symlink_to("../../../blobs/5678")
    with pytest.raises(ElectrifyError, match="not to a file of its folder"):
        refuse_outside(snapshot / "tokenizer.json", error=ElectrifyError)


def test_links_within_a_folder_are_followed(tmp_path):
    (tmp_path / "one").write_text("{}")
    (tmp_path / "two").symlink_to("one")
    refuse_outside(tmp_path / "two", error=ElectrifyError)


def test_what_a_file_says_cannot_write_lines_or_steer_the_terminal(capsys):
    with pytest.raises(SystemExit):
        fail("model_type is 'a\nelectrify: all is well\x1b[2J'" + "x" * 100_000)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "\x1b" not in shown
    assert len(shown) < 2000


def test_words_of_any_length_are_compared_in_no_time():
    started = time.monotonic()
    assert did_you_mean("electr" * 1_000_000, ["electra"]) == " Known: electra."
    assert time.monotonic() - started < 0.1
