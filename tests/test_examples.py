"""The examples run, in small."""

import bz2
import csv
import importlib.util
import json
import random
from pathlib import Path
from types import ModuleType

import pytest

from electrify.config import FinetuneConfig

EXAMPLES = Path(__file__).parent.parent / "examples"
GOOD, BAD = ["lovely", "bright", "warm"], ["dull", "grey", "cold"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    draw = random.Random(0)
    path = tmp_path / "reviews.csv.bz2"
    with bz2.open(path, "wt", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["category", "text", "movie_name"])
        for number in range(400):
            label, words = draw.choice([("fresh", GOOD), ("rotten", BAD), ("plot", ["hero", "city"])])
            said = " ".join(draw.choice([*words, "film", "story", "the", "a"]) for _ in range(20))
            writer.writerow([label, f"film {number} was {said}", "x"])
        writer.writerow(["fresh", "film 0 was told twice", "x"])
        writer.writerow(["rotten", "film 0 was told twice", "x"])
    return path


def test_demo_splits_by_text_and_holds_the_test_part_out(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = load("demo")
    monkeypatch.setattr(demo, "NUM_TEST", 60)
    monkeypatch.setattr(demo, "NUM_VALIDATION", 30)
    monkeypatch.setattr(demo, "NUM_TRAIN", 50)
    parts = demo.split(corpus)
    texts = [{row["text"] for row in part} for part in (parts.test, parts.validation, parts.train)]
    assert [len(part) for part in texts] == [60, 30, 50]
    assert len(set.union(*texts)) == 140
    unlabelled = {row["text"] for row in parts.unlabelled}
    assert not texts[0] & unlabelled
    assert texts[1] | texts[2] <= unlabelled
    assert len(unlabelled) == 401 - 60


def test_demo_makes_everything_it_promises(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = load("demo")
    for name, value in {
        "NUM_TEST": 60,
        "NUM_VALIDATION": 30,
        "NUM_TRAIN": 50,
        "SEEDS": (0, 1),
        "FINETUNING": FinetuneConfig(num_epochs=1, max_length=32),
    }.items():
        monkeypatch.setattr(demo, name, value)
    results = demo.run(tmp_path / "out", corpus=corpus, minutes=0.02)
    assert json.loads((tmp_path / "out/results.json").read_text()) == results
    assert {"metric", "pretrained", "random", "tokens_per_s", "minutes"} <= results.keys()
    for start in ("pretrained", "random"):
        assert results[start].keys() == {"values", "mean", "std"}
        assert len(results[start]["values"]) == 2
    for folder in ("discriminator", "generator", "classifier-pretrained", "classifier-random"):
        assert (tmp_path / "out" / folder / "model.safetensors").is_file()
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<svg") == 9  # losses and all figures of replaced token detection
    assert 'class="token replaced"' in page
    assert "random weights" in page
