import inspect
import json
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.corpora import sentence, write_examples, write_rows
from support.runs import BODIES

from electrify.config import FinetuneConfig
from electrify.errors import CheckpointError, ConfigError, DataError
from electrify.verbs.finetune import FinetuneReport, finetune
from electrify.verbs.predict import evaluate, predict

QUICK = {"max_length": 16, "num_epochs": 2, "batch_size": 16, "precision": "fp32"}
LEARNS = QUICK | {"num_epochs": 4, "learning_rate": 0.02, "layerwise_lr_decay": 1.0, "dropout": 0.0}


@pytest.fixture(scope="session")
def encoders(electra_run: Path, modernbert_run: Path) -> dict[str, Path]:
    return {"electra": electra_run / "discriminator", "modernbert": modernbert_run / "discriminator"}


def run(
    model: Path, labelled: dict[str, Path], output: Path, *, settings: dict[str, Any] = QUICK, **options: Any
) -> FinetuneReport:
    return finetune(
        model,
        output=output,
        config=FinetuneConfig.model_validate(settings),
        **{"train": labelled["train"], "validation": labelled["validation"], "seeds": (0,), **options},
    )


@pytest.fixture(scope="module", params=BODIES)
def tuned(
    request: pytest.FixtureRequest,
    encoders: dict[str, Path],
    labelled: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, FinetuneReport]:
    """A classifier of three seeds that has learned, and its report."""
    folder = tmp_path_factory.mktemp("tuned") / "classifier"
    model = encoders[request.param]
    return folder, run(model, labelled, folder, settings=LEARNS, seeds=(0, 1, 2), test=labelled["test"])


def test_a_toy_task_is_learned(tuned: tuple[Path, FinetuneReport]) -> None:
    report = tuned[1]
    assert report.validation["median"] > 0.9  # 0.5 by chance
    assert report.test is not None
    assert report.test["median"] > 0.9
    losses = [one["train_loss"] for one in report.seeds[0].history]
    assert losses[-1] < 0.7 * losses[0]


def test_results_file_holds_the_report_and_where_it_ran(tuned: tuple[Path, FinetuneReport]) -> None:
    folder, report = tuned
    results = json.loads((folder / "results.json").read_text())
    assert results["labels"] == ["pet", "wild"]
    assert (results["num_train"], results["num_validation"], results["num_test"]) == (96, 24, 24)
    assert [one["seed"] for one in results["seeds"]] == [0, 1, 2]
    assert results["validation"] == report.validation
    assert results["settings"]["learning_rate"] == 0.02
    assert results["environment"]["packages"]["torch"] == torch.__version__


def test_spread_is_over_the_seeds(tuned: tuple[Path, FinetuneReport]) -> None:
    report = tuned[1]
    for summary, part in ((report.validation, "validation"), (report.test, "test")):
        values = [getattr(one, part)["accuracy"] for one in report.seeds]
        assert summary == {
            "values": values,
            "median": statistics.median(values),
            "mean": pytest.approx(statistics.mean(values)),
            "std": pytest.approx(statistics.stdev(values)),
        }


def test_one_seed_has_no_spread(encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path) -> None:
    report = run(encoders["electra"], labelled, tmp_path / "out")
    assert report.validation["std"] is None
    assert report.test is None


def test_best_epoch_is_the_first_of_the_highest_by_the_metric(tuned: tuple[Path, FinetuneReport]) -> None:
    for one in tuned[1].seeds:
        values = [epoch["accuracy"] for epoch in one.history]
        assert one.best_epoch == values.index(max(values)) + 1
        assert one.validation["accuracy"] == max(values)


def test_published_network_is_that_of_the_best_seed_and_epoch(
    tuned: tuple[Path, FinetuneReport], labelled: dict[str, Path]
) -> None:
    folder, report = tuned
    best = next(one for one in report.seeds if one.seed == report.published_seed)
    assert best.validation["accuracy"] == max(report.validation["values"])
    assert evaluate(folder, labelled["validation"]).metrics == pytest.approx(best.validation)
    assert evaluate(folder, labelled["test"]).metrics == pytest.approx(best.test)


def test_epoch_that_is_published_need_not_be_the_last(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    """Held-out labels are turned round: the more is learned the worse."""
    other = {"pet": "wild", "wild": "pet"}
    rows = [json.loads(line) for line in labelled["validation"].read_text().splitlines()]
    turned = write_rows(tmp_path / "turned.jsonl", [{**row, "label": other[row["label"]]} for row in rows])
    report = run(encoders["electra"], labelled, tmp_path / "out", settings=LEARNS, validation=turned)
    (result,) = report.seeds
    assert result.best_epoch < 4
    assert result.history[-1]["accuracy"] < result.validation["accuracy"]
    assert evaluate(tmp_path / "out", turned).metrics == pytest.approx(result.validation)


def test_classifier_opens_in_a_pipeline_with_equal_scores(tuned: tuple[Path, FinetuneReport]) -> None:
    from transformers import AutoModelForSequenceClassification, pipeline

    from electrify.data.labelled import Example

    folder = tuned[0]
    _, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    texts = [sentence(0), "the cow", sentence(5) + " " + sentence(4)[:9]]
    theirs = pipeline("text-classification", model=str(folder), top_k=None)(texts, truncation=True, max_length=16)
    mine = predict(folder, [Example(text, None, None) for text in texts], precision="fp32").predictions
    for one, other in zip(mine, theirs, strict=True):
        scores = {score["label"]: score["score"] for score in other}
        assert one.probabilities == pytest.approx(scores, rel=1e-4)
        assert one.label == max(scores, key=scores.__getitem__)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_same_seed_gives_the_same_network_bit_for_bit(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    with_dropout = QUICK | {"dropout": 0.3, "learning_rate": 0.01}
    for name, seeds in (("one", (3,)), ("again", (3,)), ("other", (4,))):
        run(encoders["electra"], labelled, tmp_path / name, settings=with_dropout, seeds=seeds)
    one, again, other = (weights_of(tmp_path / name) for name in ("one", "again", "other"))
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_seeds_do_not_depend_on_the_seeds_before_them(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    together = run(encoders["electra"], labelled, tmp_path / "together", seeds=(0, 1))
    alone = run(encoders["electra"], labelled, tmp_path / "alone", seeds=(1,))
    assert alone.seeds[0] == together.seeds[1]


@pytest.mark.parametrize("body", BODIES)
def test_random_start_forgets_the_weights_and_keeps_the_sizes(
    body: str, encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    still = QUICK | {"learning_rate": 1e-12, "num_epochs": 1}
    for init in ("pretrained", "random"):
        report = run(encoders[body], labelled, tmp_path / init, settings=still, init=init)
        assert report.init == init
    name = {
        "electra": "electra.embeddings.word_embeddings.weight",
        "modernbert": "model.embeddings.tok_embeddings.weight",
    }
    published = weights_of(encoders[body])[name[body]]
    kept, drawn = (weights_of(tmp_path / init)[name[body]] for init in ("pretrained", "random"))
    torch.testing.assert_close(kept, published, rtol=0, atol=1e-6)
    assert drawn.shape == published.shape
    assert not torch.allclose(drawn, published, atol=1e-3)


@pytest.mark.parametrize("body", BODIES)
def test_every_layer_learns_more_slowly_than_the_one_above_it(
    body: str, encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    settings = QUICK | {"num_epochs": 1, "weight_decay": 0.0, "dropout": 0.0, "layerwise_lr_decay": 0.1}
    for name, rate in (("before", 1e-12), ("after", 0.01)):
        run(encoders[body], labelled, tmp_path / name, settings=settings | {"learning_rate": rate})
    before, after = weights_of(tmp_path / "before"), weights_of(tmp_path / "after")
    layer = "layer" if body == "electra" else "layers"
    depths = ("embeddings.", f"{layer}.0.", f"{layer}.1.", "classifier.")
    moved = [max(float((after[name] - before[name]).abs().max()) for name in after if part in name) for part in depths]
    for lower, upper in pairwise(moved):  # Adam moves a weight by nearly its rate in each step
        assert 0.05 < lower / upper < 0.2
    assert 0.02 < moved[-1] < 0.06  # six steps of the full rate, 0.01, and of a mean factor of a half


def test_too_long_examples_are_counted(encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"text": " ".join([sentence(0)] * 2), "label": "pet"}, {"text": sentence(1), "label": "wild"}]
    validation = write_rows(tmp_path / "long.jsonl", rows)
    report = run(encoders["electra"], labelled, tmp_path / "out", validation=validation)
    assert report.num_cut_examples == 1


def test_pairs_are_read_and_trained_on(encoders: dict[str, Path], tmp_path: Path) -> None:
    rows = [
        {"text": "the cat meows", "text_b": "the cat eats fish" if same else "the dog eats bones", "label": same}
        for same in (True, False) * 60
    ]
    path = write_rows(tmp_path / "pairs.jsonl", rows)
    report = run(encoders["electra"], {"train": path, "validation": path}, tmp_path / "out", settings=LEARNS)
    assert report.labels == ["false", "true"]
    assert report.validation["mean"] > 0.9


def test_tokenizer_beside_the_classifier_gives_no_input_that_it_does_not_name(
    tuned: tuple[Path, FinetuneReport],
) -> None:
    from transformers import AutoModelForSequenceClassification

    names = json.loads((tuned[0] / "tokenizer_config.json").read_text())["model_input_names"]
    network = AutoModelForSequenceClassification.from_pretrained(tuned[0])
    assert set(names) <= inspect.signature(network.forward).parameters.keys()


def leaves_nothing(output: Path) -> bool:
    return not list(output.parent.glob(f"{output.name}*"))


def test_label_that_training_has_not_is_an_error_before_training(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    validation = write_examples(tmp_path / "valid.jsonl", num_examples=30, num_labels=3)
    with pytest.raises(DataError, match=r"valid\.jsonl:\d+: the label 'farm' is not among those of the training part"):
        run(encoders["electra"], labelled, tmp_path / "out", validation=validation)
    assert leaves_nothing(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "clasification"}, ConfigError, r"no task 'clasification'\. Did you mean 'classification'\?"),
        ({"seeds": ()}, ConfigError, "seeds is empty"),
        ({"settings": QUICK | {"max_length": 64}}, ConfigError, "max_length = 64, but the model in .* takes 32"),
        ({"train": "no-such.jsonl"}, DataError, r"no-such\.jsonl"),
        ({"label_field": "lable"}, DataError, "no 'lable', fields are text, label"),
    ],
)
def test_wrong_options_are_named_and_leave_nothing(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    encoders: dict[str, Path],
    labelled: dict[str, Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        run(encoders["electra"], labelled, tmp_path / "out", **options)
    assert leaves_nothing(tmp_path / "out")


def test_one_label_is_not_enough(encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", [{"text": "the cat", "label": "pet"}] * 3)
    with pytest.raises(DataError, match=r"1 label\(s\) \(pet\); two are needed"):
        run(encoders["electra"], labelled, tmp_path / "out", train=train)


def test_model_folder_must_exist(labelled: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        run(tmp_path / "missing", labelled, tmp_path / "out")


def test_existing_output_is_refused_and_kept(
    encoders: dict[str, Path], labelled: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text("{}")
    with pytest.raises(DataError, match="exists already"):
        run(encoders["electra"], labelled, tmp_path / "out")
    with pytest.raises(DataError):
        run(encoders["electra"], labelled, tmp_path / "out", overwrite=True, train=tmp_path / "missing.jsonl")
    assert (tmp_path / "out" / "results.json").read_text() == "{}"
    run(encoders["electra"], labelled, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "model.safetensors").exists()
