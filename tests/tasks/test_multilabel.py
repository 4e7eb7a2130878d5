import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.errors import DataError
from electrify.tasks.multilabel import LabelsPrediction, build


def examples(*labels: tuple[str, ...]) -> list[Example]:
    return [Example("text", None, None, one) for one in labels]


def predictions(*labels: list[str]) -> list[LabelsPrediction]:
    return [LabelsPrediction(one, {}) for one in labels]


def test_metrics_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    target, guess = draw.random((2, 30, 4)) < 0.4
    names = ("a", "b", "c", "d")
    rows = examples(*[tuple(n for n, k in zip(names, row, strict=True) if k) for row in target])
    task = build(rows, FinetuneConfig())
    said = predictions(*[[n for n, k in zip(names, row, strict=True) if k] for row in guess])
    assert task.judge(rows, said).metrics() == pytest.approx(
        {
            "f1_micro": f1_score(target, guess, average="micro"),
            "f1_macro": f1_score(target, guess, average="macro"),
            "accuracy": accuracy_score(target, guess),
        }
    )


def test_label_that_training_has_not_counts_as_missed() -> None:
    task = build(examples(("a",), ("b",)), FinetuneConfig())
    result = task.judge(examples(("a", "z")), predictions(["a"])).metrics()
    assert result["f1_micro"] == pytest.approx(2 / 3)
    assert result["accuracy"] == 0


def test_no_label_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no training example has a label"):
        build(examples((), ()), FinetuneConfig())
