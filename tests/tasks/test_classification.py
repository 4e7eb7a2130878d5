import math

import pytest
import torch

from electrify.data.labelled import Example
from electrify.errors import DataError
from electrify.tasks.classification import decode, encode_labels, find_labels, loss, measure


def examples(*labels: str | None) -> list[Example]:
    return [Example("text", None, label) for label in labels]


def test_labels_are_sorted_whatever_the_order_of_the_examples() -> None:
    assert find_labels(examples("b", "a", "c", "a")) == ["a", "b", "c"]


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "a"], ["a", None]])
def test_fewer_than_two_labels_are_an_error(labels: list[str | None]) -> None:
    with pytest.raises(DataError, match="two are needed"):
        find_labels(examples(*labels))


def test_labels_become_their_place_in_the_models_order() -> None:
    assert encode_labels(examples("no", "yes", "no"), ["yes", "no"], source="a.jsonl").tolist() == [1, 0, 1]


def test_label_that_training_has_not_is_named_with_its_file() -> None:
    with pytest.raises(DataError, match=r"valid\.jsonl: the label 'positiv'.*Did you mean 'positive'\?"):
        encode_labels(examples("negative", "positiv"), ["negative", "positive"], source="valid.jsonl")


def test_loss_is_the_mean_cross_entropy_in_float32() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]], dtype=torch.bfloat16).double().bfloat16()
    value = loss(logits, torch.tensor([1, 0]))
    assert value.dtype is torch.float32
    assert float(value) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=5e-3)


def test_prediction_has_the_likeliest_label_and_all_probabilities() -> None:
    first, second = decode(torch.tensor([[0.0, math.log(3)], [5.0, -5.0]]), ["no", "yes"])
    assert (first.label, second.label) == ("yes", "no")
    assert first.probabilities == pytest.approx({"no": 0.25, "yes": 0.75})
    assert sum(second.probabilities.values()) == pytest.approx(1)


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
