"""Verbs for few labels: words in a template, changed copies, probes of layers, search of settings."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.byte_level import byte_level
from support.corpora import ANIMALS, sentence
from support.networks import ELECTRA
from support.tasks import write_task

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError, TrainingError
from electrify.models.checkpoint import load_model, save_model
from electrify.models.electra_heads import ElectraForMaskedLM
from electrify.models.inputs import Inputs
from electrify.tasks.batches import choose_place
from electrify.tasks.classification import Classification
from electrify.verbs.augment import _rewrite, augment
from electrify.verbs.classify_zero import classify_zero
from electrify.verbs.loading import load_discriminator
from electrify.verbs.probe import layer_states, probe
from electrify.verbs.tune import tune

WORDS = {"in": "house", "out": "yard"}


def test_word_whose_tokens_look_least_replaced_wins(electra_run: Path) -> None:
    folder = electra_run / "discriminator"
    words = {"in": "house", "out": "yard", "far": "the forest"}
    texts = ["the cat meows", "the dog barks", "fox"]
    network, tokenizer = load_discriminator(folder), load_tokenizer(folder)
    rows = []
    for text in texts:
        scores = []
        for word in words.values():
            ids = tokenizer.encode([f"{text} in {word} ."], max_length=24)[0].input_ids
            first = 2 + len(text.split())  # behind [CLS], the text and "in"
            logits = network(Inputs(torch.tensor([ids])))[0, first : first + len(word.split())]
            scores.append(-float(logits.detach().mean()))
        rows.append(scores)
    options = {"words": words, "template": "{text} in {label} .", "max_length": 24, "precision": "fp32"}
    result = classify_zero(folder, [Example(text, None, "in") for text in texts], **options)
    for one, row in zip(result.predictions, rows, strict=True):
        assert one.label == list(words)[int(np.argmax(row))]
        assert list(one.probabilities.values()) == pytest.approx((np.exp(row) / np.exp(row).sum()).tolist(), rel=1e-4)
    assert result.metrics is not None
    assert result.metrics["accuracy"] == np.mean([one.label == "in" for one in result.predictions])


def test_scores_do_not_depend_on_other_examples_unless_centred(electra_run: Path) -> None:
    examples = [Example("the cat", None, None), Example("the dog barks in", None, None), Example("fox", None, None)]
    options = {"words": WORDS, "max_length": 24, "precision": "fp32"}
    together = classify_zero(electra_run / "discriminator", examples, **options)
    alone = [classify_zero(electra_run / "discriminator", [one], **options).predictions[0] for one in examples]
    for one, other in zip(together.predictions, alone, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, rel=1e-4)
    assert together.metrics is None
    centred = classify_zero(electra_run / "discriminator", examples, centre=True, **options)
    logits = np.log([[one.probabilities[label] for label in WORDS] for one in centred.predictions])
    assert np.diff(logits, axis=1).mean() == pytest.approx(0, abs=1e-5)


def test_label_may_stand_before_the_text_and_long_texts_are_cut(electra_run: Path) -> None:
    examples = [Example("the cat " * 30, None, None)]
    result = classify_zero(
        electra_run / "discriminator", examples, words=WORDS, template="in the {label} . {text}", max_length=20
    )
    assert result.num_cut_examples == 1


def test_f1_is_of_the_same_label_whatever_the_order_of_the_words(electra_run: Path) -> None:
    examples = [Example(sentence(number), None, name) for number, name in enumerate(["in", "out", "out", "in", "out"])]
    found = [
        classify_zero(electra_run / "discriminator", examples, words=words, template="{text} in the {label}").metrics
        for words in (WORDS, dict(reversed(WORDS.items())))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "{text} it was"}, r"template must hold \{text\} and \{label\} once each"),
        ({"words": {"in": "house"}}, "two labels or more"),
        ({"words": {"in": "house", "out": "zebra"}}, "the tokenizer does not know 'zebra'"),
        ({"max_length": 5}, "leaves no room"),
    ],
)
def test_template_and_words_are_checked(options: dict[str, object], message: str, electra_run: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        classify_zero(
            electra_run / "discriminator", [Example("the cat", None, None)],
            **{"words": WORDS, "template": "{text} in the {label}", "max_length": 20, **options},
        )  # fmt: skip


def test_copies_keep_their_labels_and_change_a_share_of_the_words(electra_run: Path, tmp_path: Path) -> None:
    path = write_task("classification", tmp_path / "a.jsonl", num_examples=40)
    report = augment(electra_run / "generator", path, output=tmp_path / "more.jsonl", share=0.3, copies=2)
    rows = [json.loads(line) for line in (tmp_path / "more.jsonl").read_text().splitlines()]
    given = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[:40] == given
    assert len(rows) == 40 + report.num_made
    assert report.num_made + report.num_same == 80
    changed = 0
    for row, before in zip(rows[40:80] if not report.num_same else [], given, strict=False):
        assert row["label"] == before["label"]
        new, old = row["text"].split(), before["text"].split()
        assert len(new) == len(old)
        changed += sum(a != b for a, b in zip(new, old, strict=True))
    assert report.num_changed_tokens <= 3 * report.num_made  # 3 of 10 words at most
    again = augment(electra_run / "generator", path, output=tmp_path / "again.jsonl", share=0.3, copies=2)
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "more.jsonl").read_text()
    assert again.num_changed_tokens == report.num_changed_tokens


def test_ids_without_a_token_stand_in_no_copy(electra_run: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(electra_run / "generator")
    torch.manual_seed(0)
    network = ElectraForMaskedLM(replace(ELECTRA, vocab_size=tokenizer.vocab_size + 9))
    with torch.no_grad():
        network.generator_lm_head.bias[tokenizer.vocab_size :] = 50.0
    save_model(network, tmp_path / "generator")
    tokenizer.save(tmp_path / "generator")
    path = write_task("classification", tmp_path / "a.jsonl", num_examples=8)
    assert augment(tmp_path / "generator", path, output=tmp_path / "b.jsonl").num_changed_tokens > 0


def test_words_of_a_byte_level_tokenizer_keep_the_space_before_them() -> None:
    tokenizer = byte_level(["the", "Ġcat", "Ġdog", "ed", "Ġsat"])
    text = "the cat sat"
    (encoded,) = tokenizer.encode([text], max_length=8)
    places = {token: place for place, token in enumerate(encoded.tokens)}
    dog, ed = tokenizer.token_ids(["Ġdog", "ed"])
    assert _rewrite(text, encoded, {places["Ġcat"]: dog}, tokenizer) == "the dog sat"
    assert _rewrite(text, encoded, {places["the"]: dog, places["Ġsat"]: ed}, tokenizer) == "dog cat ed"


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.0}, {"copies": 0}, {"temperature": 0.0}])
def test_settings_of_copies_are_checked(options: dict[str, float], electra_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="share must be in"):
        augment(electra_run / "generator", tmp_path / "a.jsonl", output=tmp_path / "b.jsonl", **options)


@pytest.mark.parametrize("body", ["electra", "modernbert"])
def test_every_layer_is_probed(body: str, electra_run: Path, modernbert_run: Path, tmp_path: Path) -> None:
    model = {"electra": electra_run, "modernbert": modernbert_run}[body] / "discriminator"
    train = write_task("classification", tmp_path / "train.jsonl", num_examples=60)
    valid = write_task("classification", tmp_path / "valid.jsonl", num_examples=30, seed=1)
    report = probe(model, train=train, validation=valid, max_length=16, precision="fp32")
    assert [one.layer for one in report.layers] == [0, 1, 2]
    assert report.layers[0].accuracy == 1
    assert 0.3 < report.majority < 0.7


def test_states_of_the_last_layer_are_the_networks(electra_run: Path) -> None:
    folder = electra_run / "discriminator"
    body, tokenizer = load_model(folder, "ElectraModel"), load_tokenizer(folder)
    examples = [Example(sentence(number), None, None) for number in range(len(ANIMALS))]
    encoded = Classification(("a", "b"), FinetuneConfig()).encode(examples, tokenizer, max_length=16)
    states = layer_states(body, encoded, choose_place("fp32", pad_id=0), pooling="first")
    ids = torch.tensor(encoded.features.ids[2:3])
    torch.testing.assert_close(torch.from_numpy(states[-1][2:3]), body(Inputs(ids))[:, 0], rtol=1e-4, atol=1e-5)


def test_search_tries_the_whole_of_a_small_space_and_keeps_the_best(electra_run: Path, tmp_path: Path) -> None:
    path = write_task("classification", tmp_path / "a.jsonl", num_examples=48)
    config = FinetuneConfig.model_validate(
        {
            "max_length": 16,
            "num_epochs": 4,
            "batch_size": 8,
            "precision": "fp32",
            "layerwise_lr_decay": 1.0,
            "dropout": 0.0,
        }
    )
    report = tune(
        electra_run / "discriminator", train=path, validation=path, output=tmp_path / "out", config=config,
        space={"learning_rate": [1e-12, 0.02]},
    )  # fmt: skip
    assert len(report.trials) == 2
    assert report.best.settings == {"learning_rate": 0.02}
    assert report.best.value == max(one.value for one in report.trials)
    assert json.loads((tmp_path / "out/results.json").read_text())["best"]["value"] == report.best.value
    report = tune(
        electra_run / "discriminator", train=path, validation=path, output=tmp_path / "c", config=config,
        space={"learning_rate": [1e38, 0.02]},
    )  # fmt: skip
    assert [one.settings for one in report.trials] == [{"learning_rate": 0.02}]
    assert report.failed == [{"learning_rate": 1e38}]
    with pytest.raises(TrainingError, match="all 1 choices failed"):
        tune(
            electra_run / "discriminator", train=path, validation=path, output=tmp_path / "d", config=config,
            space={"learning_rate": [1e38]},
        )  # fmt: skip
    with pytest.raises(ConfigError, match=r"no setting 'learning_rat'\. Did you mean 'learning_rate'"):
        tune(electra_run, train=path, validation=path, output=tmp_path / "b", space={"learning_rat": [1]})
