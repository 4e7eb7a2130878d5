"""The intent of a sentence and the slots of its words, learned and read in one pass through the body.

A sentence's loss is the cross-entropy of its intent and the mean of those of its tags (Chen et al. 2019, joint BERT,
adds both too). Slots are those of `tagging`. The intent of a sentence that is longer than a row is read in its first
window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.config import FinetuneConfig
from electrify.data.tagged import TaggedExample
from electrify.data.tokenizer import Tokenizer
from electrify.errors import DataError
from electrify.models.heads import TaskNetwork
from electrify.models.intent_heads import INTENT, count_intents
from electrify.tasks import tagging
from electrify.tasks.judgement import Columns, Judgement
from electrify.tasks.task import Batch, Encoded, Head

KIND = "intent_slots"
METRICS = ("sentence_accuracy", "intent_accuracy", "slot_f1", "slot_precision", "slot_recall", "slot_accuracy")
_NO_INTENT = -100


@dataclass(frozen=True, slots=True)
class IntentPrediction:
    """What a sentence wants, and a tag for each of its words."""

    label: str
    probability: float
    """Of the intent, in [0, 1]."""
    words: list[str]
    tags: list[str]
    tag_probabilities: list[float]
    """Of the tags the model chose before any repair, in [0, 1]."""
    num_repaired: int
    """Tags that broke the rules of BIO or IOBES and were put right."""


@dataclass(frozen=True, slots=True)
class IntentSlots:
    """The task; see `task.Task`. A unit is a row: a sentence or one window of it."""

    labels: tuple[str, ...]
    """Intents, each behind `INTENT`, and tags."""
    config: FinetuneConfig
    kind: str = KIND
    head: Head = "intent_slots"
    problem_type: str | None = None

    @property
    def intents(self) -> tuple[str, ...]:
        """Names of the intents."""
        return tuple(label.removeprefix(INTENT) for label in self.labels[: count_intents(self.labels)])

    @property
    def slots(self) -> tagging.Tagging:
        """The tags as a task of their own."""
        return tagging.Tagging(self.labels[count_intents(self.labels) :], self.config)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics: of slots if the tags spell some, else the share of right tags."""
        return METRICS if self.slots.scheme != "plain" else (*METRICS[:2], "slot_accuracy")

    def encode(
        self, examples: Sequence[TaggedExample], tokenizer: Tokenizer, *, max_length: int, is_training: bool = False
    ) -> Encoded:
        """Make rows and, for training, targets; intents and tags that training has not are counted elsewhere."""
        shown = examples if is_training else [replace(one, tags=None) for one in examples]
        encoded = self.slots.encode(shown, tokenizer, max_length=max_length, is_training=is_training)
        rows, tags = encoded.targets
        number = {intent: index for index, intent in enumerate(self.intents)}
        before = [-1, *(row.sentence for row in rows[:-1])]
        intents = np.array(
            [
                number.get(str(examples[row.sentence].label), _NO_INTENT) if row.sentence != last else _NO_INTENT
                for row, last in zip(rows, before, strict=True)
            ]
        )
        share = np.array([1 / len(examples[row.sentence].words) for row in rows])  # of a sentence's loss, for each word
        is_first = np.array([row.sentence != last for row, last in zip(rows, before, strict=True)])
        targets = (rows, tags, intents, share, is_first)
        return replace(encoded, examples=examples, targets=targets, counts=encoded.counts | self._unknown(examples))

    def weight(self, encoded: Encoded, units: np.ndarray) -> float:
        """Return the number of sentences that begin in these rows."""
        return float(max(1, encoded.targets[4][units].sum()))

    def loss(self, network: TaskNetwork, batch: Batch) -> Tensor:
        """Return the summed loss of the sentences, in nats."""
        _, tags, intents, share, _ = batch.encoded.targets
        intent_logits, tag_logits = network(batch.inputs)
        smoothing = self.config.label_smoothing
        of_intents = F.cross_entropy(
            intent_logits.float(),
            torch.from_numpy(intents[batch.units]).to(batch.device),
            label_smoothing=smoothing,
            ignore_index=_NO_INTENT,
            reduction="sum",
        )
        at_row, at_piece = tagging.places(batch)
        targets = torch.from_numpy(np.concatenate([tags[unit] for unit in batch.units])).to(batch.device)
        weights = torch.from_numpy(share[batch.units]).float().to(batch.device)[at_row]
        of_tags = F.cross_entropy(
            tag_logits[at_row, at_piece].float(), targets, label_smoothing=smoothing, reduction="none"
        )
        return of_intents + (of_tags * weights).sum()

    def outputs(self, network: TaskNetwork, batch: Batch) -> list[np.ndarray]:
        """Return the logits of the intents, and behind them those of the words judged in each row, (I + W·S,)."""
        at_row, at_piece = tagging.places(batch)
        intent_logits, tag_logits = network(batch.inputs)
        words = tag_logits[at_row, at_piece].float().cpu().numpy()
        sizes = [len(batch.encoded.targets[0][unit].words) for unit in batch.units]
        of_rows = np.split(words, np.cumsum(sizes)[:-1])
        return [
            np.concatenate([intent, row.ravel()])
            for intent, row in zip(intent_logits.float().cpu().numpy(), of_rows, strict=True)
        ]

    def decode(self, outputs: Sequence[np.ndarray], encoded: Encoded) -> list[IntentPrediction]:
        """Return the intent and the tags of each sentence."""
        slots, num_intents = self.slots, len(self.intents)
        words = [output[num_intents:].reshape(-1, len(slots.labels)) for output in outputs]
        tagged = slots.decode(words, replace(encoded, targets=encoded.targets[:2]))
        first = np.stack(
            [output[:num_intents] for output, is_first in zip(outputs, encoded.targets[4], strict=True) if is_first]
        )
        chances = torch.from_numpy(first).softmax(-1)
        return [
            IntentPrediction(self.intents[best], chance, one.words, one.tags, one.probabilities, one.num_repaired)
            for one, best, chance in zip(tagged, chances.argmax(-1).tolist(), chances.amax(-1).tolist(), strict=True)
        ]

    def judge(self, examples: Sequence[TaggedExample], predictions: Sequence[IntentPrediction]) -> Judgement:
        """Compare intents, slots, and both; the columns are by sentence. What training has not counts as wrong."""
        tagged = [tagging.TagsPrediction(one.words, one.tags, [], 0) for one in predictions]
        columns = self.slots.judge(examples, tagged).columns
        is_right = np.array([one.label == other.label for one, other in zip(examples, predictions, strict=True)])
        columns = columns | {"intent_right": is_right}
        return Judgement(columns, formula if self.slots.scheme != "plain" else plain_formula)

    def _unknown(self, examples: Sequence[TaggedExample]) -> dict[str, int]:
        """Count what no prediction can be."""
        intents, tags = set(self.intents), set(self.labels)
        counts = {
            "intents that training has not": sum(
                one.label is not None and one.label not in intents for one in examples
            ),
            "tags that training has not": sum(tag not in tags for one in examples for tag in one.tags or ()),
        }
        return {name: count for name, count in counts.items() if count}


def build(examples: Sequence[TaggedExample], config: FinetuneConfig) -> IntentSlots:
    """Make the task for some training examples.

    Raises:
        DataError: If they have fewer than two intents or two tags.
    """
    intents = sorted({one.label for one in examples if one.label is not None})
    if len(intents) < 2:
        raise DataError(f"the training examples have {len(intents)} intent(s) ({', '.join(intents)}); two are needed.")
    slots = tagging.build(examples, config)
    return IntentSlots((*(f"{INTENT}{intent}" for intent in intents), *slots.labels), config)


def formula(columns: Columns) -> dict[str, float]:
    """Return the shares of sentences with all right and with the right intent, and the metrics of the slots."""
    return _accuracies(columns) | {f"slot_{name}": value for name, value in tagging.formula(columns).items()}


def plain_formula(columns: Columns) -> dict[str, float]:
    """Return the same for tags that spell no slots: of those the share that is right."""
    return _accuracies(columns) | {f"slot_{name}": value for name, value in tagging.plain_formula(columns).items()}


def _accuracies(columns: Columns) -> dict[str, float]:
    is_right, has_right_tags = columns["intent_right"].astype(bool), columns["right_tags"] == columns["words"]
    return {
        "sentence_accuracy": float((is_right & has_right_tags).mean()),
        "intent_accuracy": float(is_right.mean()),
    }
