"""The encoder of a T5 network through the verbs: it is fine-tuned, comes back from its folder, and opens elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.runs import run
from support.tasks import write_task

from electrify.config import FinetuneConfig
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError
from electrify.models.checkpoint import load_model
from electrify.models.inputs import Inputs
from electrify.models.t5_heads import T5EncoderForSequenceClassification, T5ForTokenClassification
from electrify.verbs.evaluate import evaluate
from electrify.verbs.finetune import FinetuneReport, finetune
from electrify.verbs.probe import probe

SETTINGS = {
    "max_length": 24, "num_epochs": 5, "batch_size": 8, "learning_rate": 0.01, "layerwise_lr_decay": 1.0, "dropout":
    0.0, "precision": "fp32", "warmup_share": 0.2,
}  # fmt: skip
ENOUGH = {"classification": 0.9, "regression": 0.9, "ranking": 0.9, "multilabel": 0.9, "tagging": 0.95}


@pytest.fixture(scope="module")
def network(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("span") / "run"
    run(shards, folder, objective={"kind": "span"}, model={"embedding_init": "cooccurrence", "embedding_std": 0.1})
    return folder / "encoder_decoder"


def tune(kind: str, network: Path, folder: Path, **settings: Any) -> tuple[FinetuneReport, Path]:
    train = write_task(kind, folder / "train.jsonl", num_examples=192)
    valid = write_task(kind, folder / "valid.jsonl", num_examples=48, seed=1)
    report = finetune(
        network, task=kind, train=train, validation=valid, output=folder / "out", seeds=(0,),
        config=FinetuneConfig.model_validate(SETTINGS | settings),
    )  # fmt: skip
    return report, valid


@pytest.mark.parametrize("kind", ENOUGH)
def test_a_toy_task_is_learned_and_comes_back_from_its_folder(kind: str, network: Path, tmp_path: Path) -> None:
    report, valid = tune(kind, network, tmp_path)
    assert report.validation["median"] > ENOUGH[kind]
    found = evaluate(tmp_path / "out", valid, num_draws=20, precision="fp32").metrics
    assert found == pytest.approx(report.seeds[0].validation, abs=1e-6)


def test_a_tagger_opens_in_transformers_and_a_classifier_gives_it_the_encoder(network: Path, tmp_path: Path) -> None:
    for kind in ("tagging", "classification"):
        (tmp_path / kind).mkdir()
        tune(kind, network, tmp_path / kind, num_epochs=1)
    text = "the cat meows in the house"
    ids = torch.tensor([load_tokenizer(tmp_path / "tagging/out").encode([text], max_length=24)[0].input_ids])
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "tagging/out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "tagging/out")
    assert tokenizer(text)["input_ids"] == ids[0].tolist()
    ours = load_model(tmp_path / "tagging/out", T5ForTokenClassification)
    torch.testing.assert_close(theirs(ids).logits, ours(Inputs(ids)), rtol=1e-4, atol=1e-4)
    assert theirs.config.id2label[0] == "O"
    encoder, report = transformers.T5EncoderModel.from_pretrained(
        tmp_path / "classification/out", output_loading_info=True
    )
    assert not report["missing_keys"]
    classifier = load_model(tmp_path / "classification/out", T5EncoderForSequenceClassification)
    pooled = encoder(ids).last_hidden_state.mean(1)
    torch.testing.assert_close(pooled, classifier.pooled(Inputs(ids)), rtol=1e-4, atol=1e-4)


def test_windows_of_long_texts_are_averaged(network: Path, tmp_path: Path) -> None:
    report, _ = tune("classification", network, tmp_path, max_length=8, long_texts="hidden", num_epochs=1, dropout=0.1)
    assert np.isfinite(report.validation["median"])


def test_the_head_of_the_original_reads_the_first_token(network: Path, tmp_path: Path) -> None:
    tune("classification", network, tmp_path, head="original", num_epochs=1)
    load_model(tmp_path / "out", T5ForTokenClassification)


def test_it_is_frozen_below(network: Path, tmp_path: Path) -> None:
    tune("classification", network, tmp_path, frozen_layers=1, num_epochs=1)
    before = load_model(network, "T5EncoderModel").state_dict()
    after = load_model(tmp_path / "out", "T5EncoderModel").state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if name == "shared.weight" or ".block.0." in name}


@pytest.mark.parametrize("kind", ["question_answering", "multiple_choice", "intent_slots"])
def test_a_task_without_a_head_is_refused_in_one_line(kind: str, network: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a T5 encoder has no head for .* tagging\.$"):
        tune(kind, network, tmp_path)


def test_its_layers_are_probed(network: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    train = write_task("classification", tmp_path / "train.jsonl")
    valid = write_task("classification", tmp_path / "valid.jsonl", num_examples=24, seed=1)
    report = probe(network, train=train, validation=valid, max_length=16, precision="fp32")
    assert [one.layer for one in report.layers] == [0, 1, 2]
    assert report.best.accuracy > report.majority
