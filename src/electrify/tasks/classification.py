"""One label for one text or a pair of texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError, DataError, did_you_mean
from electrify.models.heads import TaskNetwork
from electrify.tasks.judgement import Columns, Judgement
from electrify.tasks.sequence import encode_texts, sequence_head, unit_logits, unit_outputs
from electrify.tasks.task import Batch, Encoded, Head

KIND = "classification"
METRICS = ("accuracy", "f1_macro", "matthews", "f1")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and how sure the model is of each."""

    label: str
    probabilities: dict[str, float]
    """By label, in [0, 1]; they sum to 1."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The task; see `task.Task`."""

    labels: tuple[str, ...]
    config: FinetuneConfig
    kind: str = KIND
    problem_type: str | None = "single_label_classification"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics; `f1` is of one label, of two or the one that is asked for."""
        return METRICS if self._positive() >= 0 else tuple(name for name in METRICS if name != "f1")

    @property
    def head(self) -> Head:
        """Which network it needs."""
        return sequence_head(self.config)

    def encode(
        self, examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int, is_training: bool = False
    ) -> Encoded:
        """Make rows and, if the examples have labels, their numbers."""
        if is_training and self.config.both_orders:
            examples = with_both_orders(examples)
        features = encode_texts(examples, tokenizer, self.config, max_length=max_length)
        has_labels = all(example.label is not None for example in examples)
        targets = encode_labels(examples, self.labels) if has_labels else None
        return Encoded(features, examples, targets)

    def weight(self, encoded: Encoded, units: np.ndarray) -> float:
        """Return the number of examples, or the sum of their classes' weights."""
        weights = self._class_weights(encoded)
        return float(len(units) if weights is None else weights[encoded.targets[units]].sum())

    def loss(self, network: TaskNetwork, batch: Batch) -> Tensor:
        """Return the summed cross-entropy in nats."""
        weights = self._class_weights(batch.encoded)
        return F.cross_entropy(
            unit_logits(network, batch, self.config),
            batch.encoded.targets[batch.units].to(batch.device),
            weight=None if weights is None else weights.to(batch.device),
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )

    def outputs(self, network: TaskNetwork, batch: Batch) -> list[np.ndarray]:
        """Return the logits of each example, (C,) float32."""
        return unit_outputs(network, batch, self.config)

    def decode(self, outputs: Sequence[np.ndarray], encoded: Encoded) -> list[Prediction]:
        """Return the most likely label of each example."""
        return decode(torch.from_numpy(np.stack(outputs)), self.labels)

    def judge(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Judgement:
        """Compare labels."""
        number = {label: index for index, label in enumerate(self.labels)}
        columns = {
            "target": np.array([number[str(example.label)] for example in examples]),
            "predicted": np.array([number[one.label] for one in predictions]),
            "confidence": np.array([one.probabilities[one.label] for one in predictions]),
            "positive": np.full(len(examples), self._positive()),
        }
        return Judgement(columns, formula)

    def _positive(self) -> int:
        """Return the number of the label whose F1 is `f1`; -1 where there is none."""
        name = self.config.positive_label
        if name is None:
            return 1 if len(self.labels) == 2 else -1
        if name not in self.labels:
            raise ConfigError(f"positive_label: no label '{name}'.{did_you_mean(name, self.labels)}")
        return self.labels.index(name)

    def _class_weights(self, encoded: Encoded) -> Tensor | None:
        if self.config.class_weights == "equal":
            return None
        counts = torch.bincount(encoded.targets, minlength=len(self.labels)).clamp(min=1)
        return len(encoded.targets) / (len(self.labels) * counts.float())


def build(examples: Sequence[Example], config: FinetuneConfig) -> Classification:
    """Make the task for some training examples.

    Raises:
        DataError: If they have fewer than two labels.
    """
    return Classification(tuple(find_labels(examples)), config)


def with_both_orders(examples: Sequence[Example]) -> list[Example]:
    """Return pairs in both orders, for tasks where order has no meaning (Clark et al. 2020, code: double_unordered)."""
    swapped = [
        Example(one.text_b, one.text, one.label, one.labels, one.group, one.place)
        for one in examples
        if one.text_b is not None
    ]
    return [*examples, *swapped]


def find_labels(examples: Sequence[Example]) -> list[str]:
    """Return the labels of training examples, sorted.

    Raises:
        DataError: If there are fewer than two.
    """
    labels = sorted({example.label for example in examples if example.label is not None})
    if len(labels) < 2:
        raise DataError(f"the training examples have {len(labels)} label(s) ({', '.join(labels)}); two are needed.")
    return labels


def encode_labels(examples: Sequence[Example], labels: Sequence[str]) -> Tensor:
    """Return the labels as numbers, (N,) int64.

    Args:
        examples: All with a label.
        labels: The model's labels in the order of its logits.

    Raises:
        DataError: Naming the first label that the model has not.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    for example in examples:
        if example.label not in numbers:
            known = did_you_mean(str(example.label), labels)
            raise DataError(
                f"{example.place}: the label '{example.label}' is not among those of the training part.{known}"
            )
    return torch.tensor([numbers[str(example.label)] for example in examples])


def decode(logits: Tensor, labels: Sequence[str]) -> list[Prediction]:
    """Return the most likely label of each row of logits, (N, C)."""
    rows = logits.float().softmax(-1).tolist()
    best = logits.argmax(-1).tolist()
    return [Prediction(labels[k], dict(zip(labels, row, strict=True))) for k, row in zip(best, rows, strict=True)]


def formula(columns: Columns) -> dict[str, float]:
    """Return accuracy, macro-averaged F1, Matthews correlation and, for two labels, F1 of the positive one.

    All are computed from the table of right and predicted labels, a thousand times for an interval. The macro average
    is over the labels that occur as either, as in scikit-learn; the correlation is that of Gorodkin 2004 (equation 8),
    0 where one side is always the same.
    """
    targets, predicted = columns["target"], columns["predicted"]
    size = int(max(targets.max(), predicted.max())) + 1
    counts = np.bincount(targets * size + predicted, minlength=size * size).reshape(size, size).astype(np.float64)
    asked, given, right, total = counts.sum(1), counts.sum(0), counts.diagonal(), counts.sum()
    occurs = (asked + given) > 0
    by_label = np.divide(2 * right, asked + given, out=np.zeros(size), where=occurs)
    spread = (total**2 - (given**2).sum()) * (total**2 - (asked**2).sum())
    metrics = {
        "accuracy": float(right.sum() / total),
        "f1_macro": float(by_label[occurs].mean()),
        "matthews": float((right.sum() * total - (asked * given).sum()) / np.sqrt(spread)) if spread > 0 else 0.0,
    }
    positive = columns["positive"][0]
    if positive >= 0:
        metrics["f1"] = float(by_label[positive]) if positive < size else 0.0
    return metrics
