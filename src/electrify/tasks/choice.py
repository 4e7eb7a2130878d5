"""Multiple choice: which of several texts completes or answers one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from electrify.config import FinetuneConfig
from electrify.data.choices import ChoiceExample
from electrify.data.labelled import Example
from electrify.data.tokenizer import Tokenizer
from electrify.models.heads import TaskNetwork
from electrify.tasks.features import Features, encode_examples
from electrify.tasks.judgement import Columns, Judgement
from electrify.tasks.task import Batch, Encoded, Head

KIND = "multiple_choice"
METRICS = ("accuracy",)


@dataclass(frozen=True, slots=True)
class ChoicePrediction:
    """The chosen text."""

    choice: int
    """Its number, from 0."""
    text: str
    probabilities: list[float]
    """Of all choices; they sum to 1."""


@dataclass(frozen=True, slots=True)
class MultipleChoice:
    """The task; see `task.Task`. A unit is a question; its rows are [CLS] text [SEP] choice [SEP]."""

    config: FinetuneConfig
    labels: tuple[str, ...] = ()
    kind: str = KIND
    metrics: tuple[str, ...] = METRICS
    head: Head = "choice"
    problem_type: str | None = None

    def encode(
        self, examples: Sequence[ChoiceExample], tokenizer: Tokenizer, *, max_length: int, is_training: bool = False
    ) -> Encoded:
        """Make the rows of each question and, if the examples have them, the numbers of the right choices."""
        pairs = [Example(one.text, choice, None, place=one.place) for one in examples for choice in one.choices]
        rows = encode_examples(pairs, tokenizer, max_length=max_length)
        ends = np.cumsum([len(one.choices) for one in examples])
        features = Features(rows.ids, rows.type_ids, rows.num_cut_examples, rows.num_cut_tokens, ends)
        labels = [one.label for one in examples]
        targets = None if any(label is None for label in labels) else torch.tensor(labels)
        return Encoded(features, examples, targets)

    def weight(self, encoded: Encoded, units: np.ndarray) -> float:
        """Return the number of questions."""
        return float(len(units))

    def loss(self, network: TaskNetwork, batch: Batch) -> Tensor:
        """Return the summed cross-entropy over choices, in nats."""
        scores = pad_sequence(_by_question(network, batch), batch_first=True, padding_value=-torch.inf)
        return F.cross_entropy(scores, batch.encoded.targets[batch.units].to(batch.device), reduction="sum")

    def outputs(self, network: TaskNetwork, batch: Batch) -> list[np.ndarray]:
        """Return the scores of each question's choices, (K,) float32."""
        return [scores.cpu().numpy() for scores in _by_question(network, batch)]

    def decode(self, outputs: Sequence[np.ndarray], encoded: Encoded) -> list[ChoicePrediction]:
        """Return the likeliest choice of each question."""
        predictions = []
        for example, scores in zip(encoded.examples, outputs, strict=True):
            odds = np.exp(scores - scores.max())
            best = int(scores.argmax())
            predictions.append(ChoicePrediction(best, example.choices[best], (odds / odds.sum()).tolist()))
        return predictions

    def judge(self, examples: Sequence[ChoiceExample], predictions: Sequence[ChoicePrediction]) -> Judgement:
        """Compare choices."""
        right = [
            float(example.label == prediction.choice) for example, prediction in zip(examples, predictions, strict=True)
        ]
        return Judgement({"right": np.array(right)}, formula)


def build(examples: Sequence[ChoiceExample], config: FinetuneConfig) -> MultipleChoice:
    """Make the task; nothing of it is learned from the examples."""
    del examples
    return MultipleChoice(config)


def formula(columns: Columns) -> dict[str, float]:
    """Return the share of right choices."""
    return {"accuracy": float(columns["right"].mean())}


def _by_question(network: TaskNetwork, batch: Batch) -> list[Tensor]:
    """Return the scores of each question's choices, (K,) float32; questions may have different numbers of them."""
    features = batch.encoded.features
    sizes = features.ends[batch.units] - features.starts[batch.units]
    return list(network(batch.inputs).float().split(sizes.tolist()))
