"""Slurm with two nodes and Ray with two workers give the bytes of this machine."""

import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import slurm

from electrify.config import CleaningConfig, ExecutorConfig
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.errors import DataError
from electrify.verbs.prepare import PrepareReport, prepare

WORDS = [f"w{number}" for number in range(200)]
CLEANING = CleaningConfig(duplicates="near", min_letters=20)

ON_RAY = """
import sys

import ray

from electrify.config import CleaningConfig, ExecutorConfig
from electrify.verbs.prepare import prepare

ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
corpus, tokenizer, output = sys.argv[1:]
executor = ExecutorConfig(kind="ray", workers=2, memory_gb=1)
cleaning = CleaningConfig(duplicates="near", min_letters=20)
prepare([corpus], tokenizer=tokenizer, output=output, max_length=32, executor=executor, cleaning=cleaning)
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three files, a third of whose documents stand in two of them."""
    (tmp_path / "tokenizer").mkdir()
    from_vocabulary([*SPECIAL_TOKENS, *WORDS], is_cased=True).save(tmp_path / "tokenizer")
    (tmp_path / "corpus").mkdir()
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(4, 60))) for _ in range(60)]
    for number in range(3):
        chosen = texts[20 * number : 20 * number + 30]
        (tmp_path / "corpus" / f"{number}.jsonl").write_text("\n".join(json.dumps({"text": one}) for one in chosen))
    return tmp_path / "corpus"


def run(corpus: Path, name: str, **settings: object) -> PrepareReport:
    return prepare(
        [corpus],
        tokenizer=corpus.parent / "tokenizer",
        output=corpus.parent / name,
        max_length=32,
        processes=1,
        **{"cleaning": CLEANING, **settings},
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if reason := slurm.reason_to_skip():
        pytest.skip(reason)
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as environment, pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, environment[name])
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("nodes")
def test_slurm_gives_the_bytes_of_this_machine(corpus: Path) -> None:
    report = run(corpus, "local")
    assert report.num_removed["exact duplicate"] == 20
    run(corpus, "slurm", executor=ExecutorConfig(kind="slurm", memory_gb=1))
    assert contents(corpus.parent / "slurm") == contents(corpus.parent / "local")
    assert not (corpus.parent / "slurm.work").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("nodes")
def test_a_failed_slurm_task_is_named_with_its_reason_and_the_others_are_kept(corpus: Path) -> None:
    (corpus / "1.csv").write_text("words\nno text here\n")
    with pytest.raises(DataError, match=r"1 of 4 tasks failed.* task 1: .*1\.csv: no column 'text'.* only those"):
        run(corpus, "slurm", cleaning=None, executor=ExecutorConfig(kind="slurm", memory_gb=1))
    finished = sorted(path.name for path in (corpus.parent / "slurm.work").glob("0*.json"))
    assert finished == ["00000.json", "00002.json", "00003.json"]
    assert not (corpus.parent / "slurm").exists()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray not installed (pip install ray)")
def test_ray_gives_the_bytes_of_this_machine(corpus: Path) -> None:
    run(corpus, "local")
    script = corpus.parent / "on_ray.py"
    script.write_text(ON_RAY)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, script, corpus, corpus.parent / "tokenizer", corpus.parent / "ray"]
    subprocess.run(command, env=environment, check=True, timeout=240)
    assert contents(corpus.parent / "ray") == contents(corpus.parent / "local")
