"""Settings of fine-tuning do what they say, and an interrupted run that goes on equals one that was not."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.corpora import sentence, write_examples, write_rows
from support.runs import BODIES
from support.tasks import write_task

from electrify.config import FinetuneConfig
from electrify.data.choices import ChoiceExample
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError, DataError
from electrify.tasks import choice
from electrify.tasks import run as training
from electrify.tasks.bootstrap import compare
from electrify.tasks.judgement import EXAMPLE, Judgement
from electrify.verbs.finetune import FinetuneReport, finetune
from electrify.verbs.predict import evaluate

QUICK = {"max_length": 16, "num_epochs": 2, "batch_size": 16, "precision": "fp32"}


@pytest.fixture(scope="module")
def encoders(electra_run: Path, modernbert_run: Path) -> dict[str, Path]:
    return {"electra": electra_run / "discriminator", "modernbert": modernbert_run / "discriminator"}


def tune(
    model: Path, labelled: dict[str, Path], output: Path, *, config: dict[str, Any], **options: Any
) -> FinetuneReport:
    return finetune(
        model, output=output, config=FinetuneConfig.model_validate(QUICK | config),
        **{"train": labelled.get("train"), "validation": labelled.get("validation"), "seeds": (0,), **options},
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", [4, 6, 9, 15])
def test_run_that_was_killed_and_resumed_equals_one_that_was_not(
    step: int, encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"dropout": 0.3, "learning_rate": 0.01, "checkpoint_minutes": 0, "num_epochs": 1}
    whole = tune(encoders["electra"], labelled, tmp_path / "whole", config=config, seeds=(0, 1, 2))
    take_step, taken = training.SeedRun._take_step, []

    def stop(self: Any, *arguments: Any) -> None:
        if len(taken) == step:
            raise Killed
        taken.append(1)
        take_step(self, *arguments)

    monkeypatch.setattr(training.SeedRun, "_take_step", stop)
    with pytest.raises(Killed):
        tune(encoders["electra"], labelled, tmp_path / "cut", config=config, seeds=(0, 1, 2))
    assert not (tmp_path / "cut").exists()
    with pytest.raises(DataError, match="unfinished run"):
        tune(encoders["electra"], labelled, tmp_path / "cut", config=config, seeds=(0, 1, 2))
    with pytest.raises(ConfigError, match="other settings"):
        tune(
            encoders["electra"],
            labelled,
            tmp_path / "cut",
            config=config | {"dropout": 0},
            seeds=(0, 1, 2),
            resume=True,
        )
    monkeypatch.setattr(training.SeedRun, "_take_step", take_step)
    again = tune(encoders["electra"], labelled, tmp_path / "cut", config=config, seeds=(0, 1, 2), resume=True)
    assert again.seeds == whole.seeds
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert not (tmp_path / "cut.work").exists()


def test_rows_that_were_let_pass_are_in_the_results(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(labelled["train"].read_text() + '{"text": " ", "label": "pet"}\nbroken\n')
    with pytest.raises(DataError, match="2 of 98 records"):
        tune(encoders["electra"], labelled, tmp_path / "out", config={"num_epochs": 1}, train=path)
    tune(encoders["electra"], labelled, tmp_path / "out", config={"num_epochs": 1}, train=path, max_bad_share=0.05)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["num_rejected"] == {"train": {"empty": 1, "broken JSON": 1}}
    assert f"{path}:97" in results["rejected_places"]["train"]
    assert results["num_train"] == 96


def test_short_run_leaves_no_work_folder_behind(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise Killed

    monkeypatch.setattr(training.SeedRun, "_end_epoch", stop)
    with pytest.raises(Killed):
        tune(encoders["electra"], labelled, tmp_path / "out", config={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["classification", "tagging", "multiple_choice"])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    kind: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    path = write_task(kind, tmp_path / "a.jsonl", num_examples=40)
    config = {"dropout": 0.2, "learning_rate": 1e-3, "num_epochs": 1, "max_length": 24}
    for name, size in (("whole", None), ("parts", 5)):
        tune(
            encoders["electra"], {}, tmp_path / name, train=path, validation=path, task=kind,
            config=config | {"micro_batch_size": size},
        )  # fmt: skip
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    if kind == "multiple_choice":
        del one["classifier.bias"]  # added to all choices alike: its gradient is rounding alone, which Adam blows up
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=2e-5, msg=name)


def test_seed_ends_when_nothing_gets_better(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    config = {"num_epochs": 9, "learning_rate": 1e-12, "early_stopping": 2}
    report = tune(encoders["electra"], labelled, tmp_path / "out", config=config)
    assert report.seeds[0].best_epoch == 1
    assert len(report.seeds[0].history) == 3


@pytest.mark.parametrize("body", BODIES)
def test_frozen_layers_keep_their_values(
    body: str, encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    tune(encoders[body], labelled, tmp_path / "out", config={"frozen_layers": 1, "learning_rate": 0.01})
    before, after = weights(encoders[body]), weights(tmp_path / "out")
    for name in before.keys() & after.keys():
        is_low = "embeddings" in name or ".0." in name
        is_body = name.startswith(("electra.", "model."))
        if is_body:
            assert torch.equal(before[name], after[name]) == is_low, name


def test_metric_of_the_task_is_checked(encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metric: classification has no 'acuracy'. Did you mean 'accuracy'"):
        tune(encoders["electra"], labelled, tmp_path / "out", config={"metric": "acuracy"})
    report = tune(encoders["electra"], labelled, tmp_path / "out", config={"metric": "matthews"})
    assert report.metric == "matthews"


@pytest.mark.parametrize("pooling", ["logits", "hidden"])
def test_label_at_the_end_of_a_long_text_is_found_in_windows_and_not_when_cut(
    pooling: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    rows = [
        {"text": "the in and eats . " * 5 + sentence(number % 2), "label": ("pet", "wild")[number % 2]}
        for number in range(96)
    ]
    path = write_rows(tmp_path / "long.jsonl", rows)
    config = {"learning_rate": 0.02, "layerwise_lr_decay": 1.0, "dropout": 0.0, "window_overlap": 4, "num_epochs": 5}
    files = {"train": path, "validation": path}
    cut = tune(encoders["modernbert"], files, tmp_path / "cut", config=config)
    assert cut.num_cut_examples == 192
    assert cut.validation["mean"] == 0.5
    found = tune(encoders["modernbert"], files, tmp_path / "windows", config=config | {"long_texts": pooling})
    assert found.num_cut_examples == 0
    assert found.validation["mean"] > 0.9
    assert evaluate(tmp_path / "windows", path, num_draws=0).metrics["accuracy"] > 0.9


def test_windows_are_for_single_texts(encoders: dict[str, Path], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": "a", "text_b": "b", "label": label} for label in (0, 1)])
    with pytest.raises(ConfigError, match="takes single texts"):
        tune(
            encoders["electra"], {"train": path, "validation": path}, tmp_path / "out", config={"long_texts": "logits"}
        )


def test_both_orders_are_trained_on_and_measured_once(encoders: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"text": "the cat", "text_b": sentence(number), "label": number % 2} for number in range(6)]
    path = write_rows(tmp_path / "a.jsonl", rows)
    from electrify.data.tokenizer_files import load_tokenizer
    from electrify.tasks.kinds import build_task, read_part

    examples = read_part("classification", path)
    task = build_task("classification", examples, FinetuneConfig(both_orders=True))
    tokenizer = load_tokenizer(encoders["electra"])
    train = task.encode(examples, tokenizer, max_length=32, is_training=True)
    assert train.features.num_units == 12
    assert [train.examples[6].text, train.examples[6].text_b] == [sentence(0), "the cat"]
    assert train.targets.tolist() == [0, 1, 0, 1, 0, 1] * 2
    assert task.encode(examples, tokenizer, max_length=32).features.num_units == 6


def test_balanced_classes_weigh_the_same_in_the_loss() -> None:
    from electrify.data.labelled import Example
    from electrify.tasks.classification import Classification
    from electrify.tasks.features import Features
    from electrify.tasks.task import Encoded

    targets = torch.tensor([0, 0, 0, 1])
    encoded = Encoded(Features([[1]] * 4, None, 0, 0), [Example("a", None, "x")] * 4, targets)
    task = Classification(("x", "y"), FinetuneConfig(class_weights="balanced"))
    import numpy as np

    assert task.weight(encoded, np.arange(4)) == pytest.approx(4)
    assert task.weight(encoded, np.array([3])) == pytest.approx(2)
    assert task.weight(encoded, np.array([0])) == pytest.approx(2 / 3)


def test_chain_of_tasks_begins_with_the_fine_tuned_body(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    tune(encoders["electra"], labelled, tmp_path / "first", config={"learning_rate": 0.01})
    still = {"learning_rate": 1e-12, "num_epochs": 1}
    path = write_task("tagging", tmp_path / "tags.jsonl", num_examples=20)
    tune(tmp_path / "first", {}, tmp_path / "second", train=path, validation=path, task="tagging", config=still)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    shared = [name for name in first if name.startswith("electra.")]
    assert shared
    for name in shared:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-6)


def test_baseline_is_compared_on_the_same_examples(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    test = labelled["test"]
    good = {"learning_rate": 0.02, "layerwise_lr_decay": 1.0, "dropout": 0.0, "num_epochs": 4}
    tune(encoders["electra"], labelled, tmp_path / "bad", config={"learning_rate": 1e-12}, test=test, seeds=(0, 1))
    report = tune(
        encoders["electra"],
        labelled,
        tmp_path / "good",
        config=good,
        test=test,
        seeds=(0, 1),
        baseline=tmp_path / "bad",
    )
    assert report.comparison is not None
    assert report.comparison.part == "test"
    assert report.test is not None
    assert report.comparison.value == pytest.approx(report.test["mean"])
    assert report.comparison.difference.value > 0.2
    assert report.comparison.p_value < 0.05
    assert json.loads((tmp_path / "good" / "results.json").read_text())["comparison"]["part"] == "test"
    same = evaluate(tmp_path / "good", test, baseline=tmp_path / "good", num_draws=50)
    assert same.comparison is not None
    assert same.comparison.difference.value == 0


def test_baseline_that_can_not_be_compared_with_is_refused_before_training(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(encoders["electra"], labelled, tmp_path / "base", config={}, seeds=(0,))
    monkeypatch.setattr(training.SeedRun, "train", None)
    lines = labelled["validation"].read_text().splitlines()
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(reversed(lines)))
    parts = labelled | {"validation": turned}
    with pytest.raises(DataError, match="was measured on other examples of the validation part"):
        tune(encoders["electra"], parts, tmp_path / "a", config={}, baseline=tmp_path / "base")
    with pytest.raises(DataError, match=r"results\.json"):
        tune(encoders["electra"], labelled, tmp_path / "a", config={}, baseline=tmp_path / "nowhere")


def test_runs_on_other_examples_are_not_compared() -> None:
    sides = [
        Judgement({"target": np.zeros(2), EXAMPLE: np.array(order)}, lambda _: {"accuracy": 1.0})
        for order in ((1, 2), (2, 1))
    ]
    with pytest.raises(DataError, match=r"different examples \(2 of 2\)"):
        compare(sides[:1], sides[1:], metric="accuracy", part="test")


def test_metric_that_the_examples_have_not_is_named_before_training(
    encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.SeedRun, "train", None)
    three = write_examples(tmp_path / "three.jsonl", num_examples=32, num_labels=3)
    with pytest.raises(ConfigError, match="classification has no 'f1'"):
        tune(encoders["electra"], {"train": three, "validation": three}, tmp_path / "a", config={"metric": "f1"})
    path = write_task("question_answering", tmp_path / "q.jsonl", num_examples=32)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    answered = write_rows(tmp_path / "answered.jsonl", [row for row in rows if row["answers"]["text"]])
    with pytest.raises(ConfigError, match="has no 'has_answer_f1' on this validation part"):
        finetune(
            encoders["electra"], train=answered, validation=answered, output=tmp_path / "b", task="question_answering",
            config=FinetuneConfig(metric="has_answer_f1", max_length=32),
        )  # fmt: skip


def test_a_run_is_not_resumed_with_other_fields_data_or_model(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, train = tmp_path / "model", tmp_path / "train.jsonl"
    shutil.copytree(encoders["electra"], model)
    shutil.copyfile(labelled["train"], train)
    options: dict[str, Any] = {"train": train, "config": {"checkpoint_minutes": 0}}
    take_step, taken = training.SeedRun._take_step, []

    def stop(self: Any, *arguments: Any) -> None:
        if len(taken) == 3:
            raise Killed
        taken.append(1)
        take_step(self, *arguments)

    monkeypatch.setattr(training.SeedRun, "_take_step", stop)
    with pytest.raises(Killed):
        tune(model, labelled, tmp_path / "cut", **options)
    with pytest.raises(ConfigError, match="begun with other fields"):
        tune(model, labelled, tmp_path / "cut", **options, label_field="label", resume=True)
    before = train.read_text()
    train.write_text(before.replace("pet", "wild", 1))
    with pytest.raises(ConfigError, match="begun with other data files"):
        tune(model, labelled, tmp_path / "cut", **options, resume=True)
    train.write_text(before)
    text = (model / "tokenizer_config.json").read_text()
    (model / "tokenizer_config.json").write_text(f"{text} ")
    (model / "manifest.json").unlink(missing_ok=True)
    with pytest.raises(ConfigError, match="begun with other model files"):
        tune(model, labelled, tmp_path / "cut", **options, resume=True)


def test_an_example_that_stands_in_several_rows_is_counted_once(encoders: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"text": "cat " * 40, "text_b": "dog", "label": label} for label in ("a", "b")] * 4
    path = write_rows(tmp_path / "pairs.jsonl", rows)
    config, parts = {"both_orders": True}, {"train": path, "validation": path}
    assert tune(encoders["electra"], parts, tmp_path / "out", config=config, seeds=(0,)).num_cut_examples == 16
    tokenizer = load_tokenizer(encoders["electra"])
    asked = [ChoiceExample("cat " * 40, ("dog", "cow"), 0, f"a:{number}") for number in range(3)]
    assert choice.build(asked, FinetuneConfig()).encode(asked, tokenizer, max_length=16).features.num_cut_examples == 3


def test_broken_tags_are_counted_in_the_report(encoders: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"tokens": ["the", "cat", "meows"], "tags": ["O", "I-X", "I-X"]}, {"tokens": ["the"], "tags": ["B-X"]}] * 4
    path = write_rows(tmp_path / "a.jsonl", rows)
    report = tune(encoders["electra"], {}, tmp_path / "out", train=path, validation=path, task="tagging", config={})
    assert report.labels == ["O", "B-X", "I-X"]
    assert report.counts["train"] == {"tags repaired": 4}
