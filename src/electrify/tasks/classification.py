"""One label for one text or a pair of texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.data.labelled import Example
from electrify.errors import DataError, ElectrifyError, did_you_mean


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and how sure the model is of each."""

    label: str
    probabilities: dict[str, float]
    """By label, in [0, 1]; they sum to 1."""


def find_labels(examples: Sequence[Example]) -> list[str]:
    """Return the labels of training examples, sorted.

    Raises:
        DataError: If there are fewer than two.
    """
    labels = sorted({example.label for example in examples if example.label is not None})
    if len(labels) < 2:
        raise DataError(f"the training examples have {len(labels)} label(s) ({', '.join(labels)}); two are needed.")
    return labels


def encode_labels(examples: Sequence[Example], labels: Sequence[str], *, source: str) -> Tensor:
    """Return the labels as numbers, (N,) int64.

    Args:
        examples: All with a label.
        labels: The model's labels in the order of its logits.
        source: Where the examples come from, for the message.

    Raises:
        DataError: Naming the first label that the model has not.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    for example in examples:
        if example.label not in numbers:
            known = did_you_mean(str(example.label), labels)
            raise DataError(f"{source}: the label '{example.label}' is not among those of the training part.{known}")
    return torch.tensor([numbers[str(example.label)] for example in examples])


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats, in float32.

    Args:
        logits: (B, C).
        targets: (B,) int64.
    """
    return F.cross_entropy(logits.float(), targets)


def decode(logits: Tensor, labels: Sequence[str]) -> list[Prediction]:
    """Return the most likely label of each row of logits, (N, C)."""
    rows = logits.float().softmax(-1).tolist()
    best = logits.argmax(-1).tolist()
    return [Prediction(labels[k], dict(zip(labels, row, strict=True))) for k, row in zip(best, rows, strict=True)]


def measure(targets: Sequence[int], predicted: Sequence[int]) -> dict[str, float]:
    """Return accuracy, macro-averaged F1 and Matthews correlation, from scikit-learn.

    Args:
        targets: Right label numbers, (N,).
        predicted: Predicted ones, (N,).

    Raises:
        ElectrifyError: If scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
    except ImportError:
        raise ElectrifyError("scikit-learn is not installed: pip install 'electrify[finetune]'.") from None
    return {
        "accuracy": float(accuracy_score(targets, predicted)),
        "f1_macro": float(f1_score(targets, predicted, average="macro", zero_division=0)),
        "matthews": float(matthews_corrcoef(targets, predicted)),
    }
