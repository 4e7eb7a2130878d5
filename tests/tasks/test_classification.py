import math

import numpy as np
import pytest
import torch

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.errors import ConfigError, DataError
from electrify.tasks.classification import Classification, decode, encode_labels, find_labels, formula


def examples(*labels: str | None) -> list[Example]:
    return [Example("text", None, label, place="valid.jsonl:7") for label in labels]


def test_labels_are_sorted_whatever_the_order_of_the_examples() -> None:
    assert find_labels(examples("b", "a", "c", "a")) == ["a", "b", "c"]


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "a"], ["a", None]])
def test_fewer_than_two_labels_are_an_error(labels: list[str | None]) -> None:
    with pytest.raises(DataError, match="two are needed"):
        find_labels(examples(*labels))


def test_labels_become_their_place_in_the_models_order() -> None:
    assert encode_labels(examples("no", "yes", "no"), ["yes", "no"]).tolist() == [1, 0, 1]


def test_label_that_training_has_not_is_named_with_its_file() -> None:
    with pytest.raises(DataError, match=r"valid\.jsonl:7: the label 'positiv'.*Did you mean 'positive'\?"):
        encode_labels(examples("negative", "positiv"), ["negative", "positive"])


def test_prediction_has_the_likeliest_label_and_all_probabilities() -> None:
    first, second = decode(torch.tensor([[0.0, math.log(3)], [5.0, -5.0]]), ["no", "yes"])
    assert (first.label, second.label) == ("yes", "no")
    assert first.probabilities == pytest.approx({"no": 0.25, "yes": 0.75})
    assert sum(second.probabilities.values()) == pytest.approx(1)


def measure(targets: list[int], predicted: list[int], *, positive: int = -1) -> dict[str, float]:
    columns = {"target": targets, "predicted": predicted, "positive": [positive] * len(targets)}
    return formula({name: np.array(values) for name, values in columns.items()})


def test_measures_are_those_computed_by_hand() -> None:
    # right 0: 3 of 4 found, and one 1 taken for 0; right 1: 1 of 2 found
    result = measure([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 1])
    assert result == pytest.approx(
        {
            "accuracy": 4 / 6,
            "f1_macro": (0.75 + 0.5) / 2,
            "matthews": (3 * 1 - 1 * 1) / math.sqrt(4 * 4 * 2 * 2),
        }
    )


def test_perfect_predictions_measure_one() -> None:
    assert measure([0, 1, 2], [0, 1, 2]) == {"accuracy": 1.0, "f1_macro": 1.0, "matthews": 1.0}


def test_model_that_always_says_the_same_has_no_correlation() -> None:
    result = measure([0, 0, 1], [0, 0, 0])
    assert (result["matthews"], result["f1_macro"]) == (0.0, pytest.approx(0.4))


def test_f1_is_that_of_the_positive_label() -> None:
    # right 1: 1 of 2 found, 1 of 2 given is right; right 0: 3 of 4
    assert measure([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 1], positive=1)["f1"] == pytest.approx(0.5)
    assert measure([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 1], positive=0)["f1"] == pytest.approx(0.75)


def test_positive_label_that_is_none_is_named() -> None:
    task = Classification(("no", "yes"), FinetuneConfig(positive_label="ye"))
    predictions = decode(torch.zeros(1, 2), task.labels)
    with pytest.raises(ConfigError, match=r"positive_label: no label 'ye'\. Did you mean 'yes'\?"):
        task.judge(examples("no"), predictions)


@pytest.mark.filterwarnings("ignore:A single label was found")
def test_measures_equal_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    draw = np.random.default_rng(0)
    for size in (1, 2, 5, 60):
        for num_labels in (2, 3, 7):
            targets, predicted = draw.integers(0, num_labels, (2, size))
            columns = {"target": targets, "predicted": predicted, "positive": np.full(size, 1)}
            assert formula(columns) == pytest.approx(
                {
                    "accuracy": accuracy_score(targets, predicted),
                    "f1_macro": f1_score(targets, predicted, average="macro", zero_division=0),
                    "matthews": matthews_corrcoef(targets, predicted),
                    "f1": f1_score(targets == 1, predicted == 1, zero_division=0),
                }
            )
