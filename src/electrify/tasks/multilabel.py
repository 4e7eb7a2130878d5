"""Any number of labels for one text or a pair: each label is decided by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.data.tokenizer import Tokenizer
from electrify.errors import DataError
from electrify.models.heads import TaskNetwork
from electrify.tasks.judgement import Columns, Judgement
from electrify.tasks.sequence import encode_texts, sequence_head, unit_logits, unit_outputs
from electrify.tasks.task import Batch, Encoded, Head

KIND = "multilabel"
METRICS = ("f1_micro", "f1_macro", "accuracy")


@dataclass(frozen=True, slots=True)
class LabelsPrediction:
    """Labels that are more likely than not."""

    labels: list[str]
    probabilities: dict[str, float]
    """By label, each in [0, 1]."""


@dataclass(frozen=True, slots=True)
class MultiLabel:
    """The task; see `task.Task`."""

    labels: tuple[str, ...]
    config: FinetuneConfig
    kind: str = KIND
    metrics: tuple[str, ...] = METRICS
    problem_type: str | None = "multi_label_classification"

    @property
    def head(self) -> Head:
        """Which network it needs."""
        return sequence_head(self.config)

    def encode(
        self, examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int, is_training: bool = False
    ) -> Encoded:
        """Make rows and (N, C) targets; labels that training has not are counted and can never be predicted."""
        features = encode_texts(examples, tokenizer, self.config, max_length=max_length)
        number = {label: index for index, label in enumerate(self.labels)}
        targets = torch.zeros(len(examples), len(self.labels))
        num_unknown = 0
        for index, example in enumerate(examples):
            for label in example.labels:
                if label in number:
                    targets[index, number[label]] = 1
                else:
                    num_unknown += 1
        counts = {"labels that training has not": num_unknown} if num_unknown else {}
        return Encoded(features, examples, targets, counts)

    def weight(self, encoded: Encoded, units: np.ndarray) -> float:
        """Return the number of decisions: examples times labels."""
        return float(len(units) * len(self.labels))

    def loss(self, network: TaskNetwork, batch: Batch) -> Tensor:
        """Return the summed binary cross-entropy in nats."""
        return F.binary_cross_entropy_with_logits(
            unit_logits(network, batch, self.config),
            batch.encoded.targets[batch.units].to(batch.device),
            reduction="sum",
        )

    def outputs(self, network: TaskNetwork, batch: Batch) -> list[np.ndarray]:
        """Return the logits of each example, (C,) float32."""
        return unit_outputs(network, batch, self.config)

    def decode(self, outputs: Sequence[np.ndarray], encoded: Encoded) -> list[LabelsPrediction]:
        """Return the labels over one half."""
        rows = torch.from_numpy(np.stack(outputs)).sigmoid().tolist()
        return [
            LabelsPrediction(
                [label for label, value in zip(self.labels, row, strict=True) if value > 0.5],
                dict(zip(self.labels, row, strict=True)),
            )
            for row in rows
        ]

    def judge(self, examples: Sequence[Example], predictions: Sequence[LabelsPrediction]) -> Judgement:
        """Compare sets of labels."""
        return Judgement(
            {
                "target": np.array([[label in one.labels for label in self.labels] for one in examples]),
                "predicted": np.array([[label in one.labels for label in self.labels] for one in predictions]),
                "num_unknown": np.array([len(set(one.labels) - set(self.labels)) for one in examples]),
            },
            formula,
        )


def build(examples: Sequence[Example], config: FinetuneConfig) -> MultiLabel:
    """Make the task for some training examples.

    Raises:
        DataError: If none of them has a label.
    """
    labels = tuple(sorted({label for example in examples for label in example.labels}))
    if not labels:
        raise DataError("no training example has a label. Is the field of the labels the right one?")
    return MultiLabel(labels, config)


def formula(columns: Columns) -> dict[str, float]:
    """Return F1 over all decisions, F1 averaged over labels that occur, and the share of exactly right sets.

    A label that training has not counts as missed.
    """
    target, predicted = columns["target"], columns["predicted"]
    right = (target & predicted).sum(0)  # (C,)
    asked, given = target.sum(0), predicted.sum(0)
    missed = int(columns["num_unknown"].sum())
    occurs = (asked + given) > 0
    by_label = 2 * right[occurs] / (asked + given)[occurs]
    total = int(asked.sum() + given.sum()) + missed
    return {
        "f1_micro": float(2 * right.sum() / total) if total else 0.0,
        "f1_macro": float(by_label.mean()) if occurs.any() else 0.0,
        "accuracy": float(((target == predicted).all(1) & (columns["num_unknown"] == 0)).mean()),
    }
