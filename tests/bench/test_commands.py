"""The commands that measure, on tiny inputs with a peer that does nothing."""

import json
from pathlib import Path

import pytest
from support.corpora import write_corpus, write_examples

from electrify.cli import main
from electrify.data.tokenizer_files import load_tokenizer
from electrify.models.checkpoint import save_model
from electrify.models.electra import ElectraConfig
from electrify.models.electra_heads import ElectraForPreTraining
from electrify.verbs.tokenizer import build_tokenizer

PEER = """
PACKAGES = {}
CONTENDERS = {"step": ("idle",), "infer": ("idle",), "prepare": ("idle",), "finetune": ("idle",)}

def build(work):
    return lambda number: 0.5

build_step = build_infer = build_prepare = build_finetune = build
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "peers").mkdir()
    (tmp_path / "peers/nobody.py").write_text(PEER, encoding="utf-8")
    corpus = write_corpus(tmp_path / "corpus.txt", num_documents=60)
    build_tokenizer([corpus], output=tmp_path / "tokenizer", vocab_size=80)
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    config = ElectraConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=32,
    )  # fmt: skip
    (tmp_path / "model").mkdir()
    save_model(ElectraForPreTraining(config), tmp_path / "model")
    tokenizer.save(tmp_path / "model", max_length=32)
    write_examples(tmp_path / "train.jsonl", num_examples=24)
    write_examples(tmp_path / "valid.jsonl", num_examples=8, seed=1)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert not end.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("bench", "unit"),
    [("step", "real tokens/s"), ("infer", "real tokens/s"), ("prepare", "MB/s"), ("finetune", "examples/s")],
)
def test_a_bench_prints_every_side(capsys: pytest.CaptureFixture[str], place: Path, bench: str, unit: str) -> None:
    words: dict[str, list[object]] = {
        "step": ["tiny", "--model.hidden-size=16", "--model.num-layers=2", "--model.intermediate-size=16", "--batch=2",
                 "--length=16", "--vocab-size=50"],
        "infer": [place / "model", "--batch=2", "--length=16", "--steps=1"],
        "prepare": [place / "corpus.txt", "--tokenizer", place / "tokenizer", "--length=16"],
        "finetune": [place / "model", "--train", place / "train.jsonl", "--valid", place / "valid.jsonl",
                     "--length=16"],
    }  # fmt: skip
    out = run(capsys, "bench", bench, *words[bench], "--rounds=1", "--peers", place / "peers")
    table = out[out.index("\nside  ") + 1 :].splitlines()
    assert unit in table[0]
    assert [line.split("  ")[0] for line in table[1:3]] == ["electrify", "nobody idle"]


def test_start_waits_for_the_first_step_of_a_real_command(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--model.hidden-size=16", "--model.num-layers=2", "--model.intermediate-size=16"]
    out = run(capsys, "bench", "start", "tiny", *sizes, "--training.batch-size=4", "--logging.tensorboard=false",
              "--rounds=1", "--vocab-size=50", "--length=16", "--json")  # fmt: skip
    assert 0.3 < json.loads(out)["seconds"]["median"] < 60


def test_start_says_what_is_wrong_with_the_command(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "start", "tiny", "--data.path", str(place / "nothing")])
    assert "nothing" in capsys.readouterr().err
