"""Candidates of a query in order of fit: a classifier of pairs (cross-encoder) whose score sorts them.

Metrics are means over queries. As in the TREC evaluations, queries without a right candidate, or without a wrong one,
say nothing and are left out; how many, is counted (Wang et al. 2007 and after use the same rule).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from torch import Tensor

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError, DataError, did_you_mean
from electrify.models.heads import TaskNetwork
from electrify.tasks.classification import Classification, Prediction, find_labels
from electrify.tasks.judgement import Columns, Judgement
from electrify.tasks.task import Batch, Encoded, Head

KIND = "ranking"
T = TypeVar("T")
METRICS = ("map", "mrr", "precision_at_1")


@dataclass(frozen=True, slots=True)
class Ranking:
    """The task; see `task.Task`. Everything but the metrics is classification's."""

    classes: Classification
    kind: str = KIND
    metrics: tuple[str, ...] = METRICS
    problem_type: str | None = "single_label_classification"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return self.classes.labels

    @property
    def head(self) -> Head:
        """Which network it needs."""
        return self.classes.head

    @property
    def right(self) -> str:
        """The label of candidates that belong up."""
        return self.classes.config.positive_label or self.labels[-1]

    def encode(
        self, examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int, is_training: bool = False
    ) -> Encoded:
        """Make rows and label numbers."""
        encoded = self.classes.encode(examples, tokenizer, max_length=max_length, is_training=is_training)
        queries = _by_query([(one, one.label == self.right) for one in examples if one.group is not None])
        num_mute = sum(not _says_something(marks) for marks in queries.values())
        counts = {"queries without a right or a wrong candidate": num_mute} if num_mute and not is_training else {}
        return replace(encoded, counts=counts)

    def weight(self, encoded: Encoded, units: np.ndarray) -> float:
        """Return the number of examples, or the sum of their classes' weights."""
        return self.classes.weight(encoded, units)

    def loss(self, network: TaskNetwork, batch: Batch) -> Tensor:
        """Return the summed cross-entropy in nats."""
        return self.classes.loss(network, batch)

    def outputs(self, network: TaskNetwork, batch: Batch) -> list[np.ndarray]:
        """Return the logits of each example, (C,) float32."""
        return self.classes.outputs(network, batch)

    def decode(self, outputs: Sequence[np.ndarray], encoded: Encoded) -> list[Prediction]:
        """Return the most likely label of each example."""
        return self.classes.decode(outputs, encoded)

    def judged(self, examples: Sequence[Example]) -> list[tuple[Example, ...]]:
        """Return the candidates of each query that has a right and a wrong one, in the order of `judge`'s entries."""
        groups = _by_query([(example, example) for example in examples])
        return [tuple(some) for some in groups.values() if _says_something(one.label == self.right for one in some)]

    def judge(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Judgement:
        """Rank the candidates of each query; the columns have one entry a query."""
        pairs = _by_query(
            [
                (example, (prediction.probabilities[self.right], example.label == self.right))
                for example, prediction in zip(examples, predictions, strict=True)
            ]
        )
        rows = [_judge_query(some) for some in pairs.values() if _says_something(right for _, right in some)]
        if not rows:
            raise DataError("no query has a right and a wrong candidate, so there is nothing to rank.")
        return Judgement({name: np.array([row[name] for row in rows]) for name in METRICS}, formula)


def build(examples: Sequence[Example], config: FinetuneConfig) -> Ranking:
    """Make the task for some training examples.

    Raises:
        DataError: If they have not two labels.
        ConfigError: If the positive label is none of theirs.
    """
    labels = tuple(find_labels(examples))
    if config.positive_label is not None and config.positive_label not in labels:
        raise ConfigError(
            f"positive_label: no label '{config.positive_label}'.{did_you_mean(config.positive_label, labels)}"
        )
    return Ranking(Classification(labels, config))


def _says_something(marks: Iterable[bool]) -> bool:
    """Return whether a query has a right and a wrong candidate."""
    return len(set(marks)) == 2


def _by_query(values: Sequence[tuple[Example, T]]) -> dict[str, list[T]]:
    """Return the values of each query's candidates."""
    groups: dict[str, list[T]] = {}
    for example, value in values:
        if example.group is None:
            raise DataError(f"{example.place}: no query. Name its field (group_field).")
        groups.setdefault(example.group, []).append(value)
    return groups


def _judge_query(pairs: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Return average precision, reciprocal rank and whether the first is right; ties count as the worst order."""
    ranked = [right for _, right in sorted(pairs, key=lambda pair: (-pair[0], pair[1]))]
    places = [place for place, right in enumerate(ranked, start=1) if right]
    return {
        "map": sum(found / place for found, place in enumerate(places, start=1)) / len(places),
        "mrr": 1 / places[0],
        "precision_at_1": float(ranked[0]),
    }


def formula(columns: Columns) -> dict[str, float]:
    """Return mean average precision, mean reciprocal rank and precision of the first candidate."""
    return {name: float(columns[name].mean()) for name in METRICS}
