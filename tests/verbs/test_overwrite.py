"""What a verb reads is never removed by it, whatever `overwrite` says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.corpora import write_corpus
from support.tasks import write_task

from electrify.errors import DataError
from electrify.verbs.finetune import finetune
from electrify.verbs.prepare import prepare
from electrify.verbs.pretrain import pretrain
from electrify.verbs.suite import run_together
from electrify.verbs.tokenizer import build_tokenizer

SUITE = """
name = "toys"
[[task]]
name = "animals"
kind = "classification"
train = "data.jsonl"
valid = "data.jsonl"
"""


def _finetune(where: Path, **names: Path) -> None:
    data = write_task("classification", where / "data.jsonl", num_examples=8)
    finetune(names["model"], train=data, validation=data, output=names["output"], overwrite=True)


def _together(where: Path, **names: Path) -> None:
    write_task("classification", where / "data.jsonl", num_examples=8)
    (where / "suite.toml").write_text(SUITE)
    run_together(names["model"], where / "suite.toml", data=where, output=names["output"], overwrite=True)


CASES: dict[str, Callable[[Path, Path, Path], Any]] = {
    "tokenizer": lambda where, model, shards: build_tokenizer([where], output=where, overwrite=True),
    "prepare": lambda where, model, shards: prepare([where / "inside"], tokenizer=model, output=where, overwrite=True),
    "prepare, tokenizer": lambda where, model, shards: prepare([where], tokenizer=model, output=model, overwrite=True),
    "pretrain": lambda where, model, shards: pretrain(
        "tiny", output=shards, overrides={"data": {"path": str(shards)}}, overwrite=True
    ),
    "pretrain, parent": lambda where, model, shards: pretrain(
        "tiny", output=shards.parent, overrides={"data": {"path": str(shards)}}, overwrite=True
    ),
    "pretrain, start": lambda where, model, shards: pretrain(
        "tiny",
        output=model.parent,
        overrides={"data": {"path": str(shards)}, "init_from": str(model)},
        overwrite=True,
    ),
    "finetune": lambda where, model, shards: _finetune(where, model=model, output=where),
    "finetune, model": lambda where, model, shards: _finetune(where, model=model, output=model.parent),
    "together": lambda where, model, shards: _together(where, model=model, output=where),
}


@pytest.mark.parametrize("verb", CASES)
def test_an_output_that_holds_an_input_is_refused(verb: str, electra_run: Path, shards: Path, tmp_path: Path) -> None:
    where = tmp_path / "corpus"
    (where / "inside").mkdir(parents=True)
    write_corpus(where / "inside/corpus.jsonl")
    before = {path for folder in (where, electra_run, shards) for path in folder.rglob("*")}
    with pytest.raises(DataError, match="which is read, lies in it"):
        CASES[verb](where, electra_run / "discriminator", shards)
    assert all(path.exists() for path in before)
