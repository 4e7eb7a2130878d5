"""A number for one text or a pair, such as how alike two sentences are."""

import math
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
from electrify.tasks.classification import with_both_orders
from electrify.tasks.judgement import Columns, Judgement, require_sklearn
from electrify.tasks.sequence import encode_texts, sequence_head, unit_logits, unit_outputs
from electrify.tasks.task import Batch, Encoded, Head

KIND = "regression"
METRICS = ("spearman", "pearson", "minus_mse")


@dataclass(frozen=True, slots=True)
class ScorePrediction:
    """A number on the scale of the training examples."""

    score: float


@dataclass(frozen=True, slots=True)
class Regression:
    """The task; see `task.Task`. The network's one output is the number itself."""

    config: FinetuneConfig
    labels: tuple[str, ...] = ("score",)
    kind: str = KIND
    metrics: tuple[str, ...] = METRICS
    problem_type: str | None = "regression"

    @property
    def head(self) -> Head:
        """Which network it needs."""
        return sequence_head(self.config)

    def encode(
        self, examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int, is_training: bool = False
    ) -> Encoded:
        """Make rows and, if the examples have them, numbers."""
        if is_training and self.config.both_orders:
            examples = with_both_orders(examples)
        features = encode_texts(examples, tokenizer, self.config, max_length=max_length)
        has_scores = all(example.label is not None for example in examples)
        return Encoded(features, examples, torch.tensor([_number(one) for one in examples]) if has_scores else None)

    def weight(self, encoded: Encoded, units: np.ndarray) -> float:
        """Return the number of examples."""
        return float(len(units))

    def loss(self, network: TaskNetwork, batch: Batch) -> Tensor:
        """Return the summed squared error."""
        scores = unit_logits(network, batch, self.config).squeeze(-1)
        return F.mse_loss(scores, batch.encoded.targets[batch.units].to(batch.device), reduction="sum")

    def outputs(self, network: TaskNetwork, batch: Batch) -> list[np.ndarray]:
        """Return the number of each example, (1,) float32."""
        return unit_outputs(network, batch, self.config)

    def decode(self, outputs: Sequence[np.ndarray], encoded: Encoded) -> list[ScorePrediction]:
        """Return the numbers."""
        return [ScorePrediction(float(output[0])) for output in outputs]

    def judge(self, examples: Sequence[Example], predictions: Sequence[ScorePrediction]) -> Judgement:
        """Compare numbers."""
        targets = np.array([_number(example) for example in examples])
        return Judgement({"target": targets, "predicted": np.array([one.score for one in predictions])}, formula)


def build(examples: Sequence[Example], config: FinetuneConfig) -> Regression:
    """Make the task for some training examples.

    Raises:
        DataError: If a label is not a number, or all are the same.
    """
    if len({_number(example) for example in examples}) < 2:
        raise DataError("all training examples have the same score. Is the label field the right one?")
    return Regression(config)


def _number(example: Example) -> float:
    try:
        number = float(str(example.label))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{example.place}: the label '{example.label}' is not a number. Name the field of the score.")
    return number


def formula(columns: Columns) -> dict[str, float]:
    """Return Spearman's and Pearson's correlation (0 where one side is constant) and the negative squared error."""
    require_sklearn()
    from scipy.stats import pearsonr, spearmanr

    targets, predicted = columns["target"], columns["predicted"]
    is_constant = len(targets) < 2 or np.ptp(targets) == 0 or np.ptp(predicted) == 0
    return {
        "spearman": 0.0 if is_constant else float(spearmanr(targets, predicted).statistic),
        "pearson": 0.0 if is_constant else float(pearsonr(targets, predicted).statistic),
        "minus_mse": -float(((targets - predicted) ** 2).mean()),
    }
