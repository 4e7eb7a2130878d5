"""One tag for each word of a sentence: names, chunks, parts of speech, slots.

A word is judged at its first piece. Sentences longer than the model are read in overlapping windows, and each word is
judged in the window where it has most context on its shorter side, so every word counts exactly once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.config import FinetuneConfig
from electrify.data.tagged import TaggedExample
from electrify.data.tokenizer import Tokenizer
from electrify.errors import DataError, did_you_mean
from electrify.models.heads import TaskNetwork
from electrify.tasks.features import Features
from electrify.tasks.judgement import Columns, Judgement
from electrify.tasks.tags import OUTSIDE, Scheme, find_scheme, read_spans, repair, with_siblings
from electrify.tasks.task import Batch, Encoded, Head
from electrify.tasks.windows import WordRow, window_rows

KIND = "tagging"
ENTITY_METRICS = ("f1", "precision", "recall", "accuracy")
PLAIN_METRICS = ("accuracy",)


@dataclass(frozen=True, slots=True)
class TagsPrediction:
    """A tag for each word, and how sure the model is of it."""

    words: list[str]
    tags: list[str]
    probabilities: list[float]
    """Of the tag the model chose before any repair, in [0, 1]."""
    num_repaired: int
    """Tags that broke the rules of BIO or IOBES and were put right."""


@dataclass(frozen=True, slots=True)
class Tagging:
    """The task; see `task.Task`. A unit is a row: a sentence or one window of it."""

    labels: tuple[str, ...]
    config: FinetuneConfig
    kind: str = KIND
    head: Head = "tokens"
    problem_type: str | None = None

    @property
    def scheme(self) -> Scheme:
        """How entities are written."""
        return find_scheme(self.labels)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics: of entities if the tags spell some."""
        return PLAIN_METRICS if self.scheme == "plain" else ENTITY_METRICS

    def encode(
        self, examples: Sequence[TaggedExample], tokenizer: Tokenizer, *, max_length: int, is_training: bool = False
    ) -> Encoded:
        """Make rows and the tags of the words judged in each; broken tags are repaired and counted."""
        rows, num_cut, num_unknown = window_rows(
            [one.words for one in examples], tokenizer, max_length=max_length, overlap=self.config.window_overlap
        )
        features = Features([row.ids for row in rows], None, 0, num_cut)
        number = {label: index for index, label in enumerate(self.labels)}
        scheme, num_repaired = self.scheme, 0
        tags_of: list[np.ndarray | None] = []
        for example in examples:
            if example.tags is None:
                tags_of.append(None)
                continue
            tags, changes = repair(example.tags, scheme)
            num_repaired += changes
            missing = next((tag for tag in tags if tag not in number), None)
            if missing is not None:
                known = did_you_mean(missing, self.labels)
                raise DataError(f"{example.place}: the tag '{missing}' is not among those of the training part.{known}")
            tags_of.append(np.array([number[tag] for tag in tags]))
        counts = {"tags repaired": num_repaired, "pieces cut": num_cut, "words without a piece": num_unknown}
        targets = [_of_row(row, tags_of[row.sentence]) for row in rows]
        return Encoded(features, examples, (rows, targets), {name: count for name, count in counts.items() if count})

    def weight(self, encoded: Encoded, units: np.ndarray) -> float:
        """Return the number of words."""
        rows: list[WordRow] = encoded.targets[0]
        return float(max(1, sum(len(rows[unit].words) for unit in units)))

    def loss(self, network: TaskNetwork, batch: Batch) -> Tensor:
        """Return the summed cross-entropy over words, in nats."""
        at_row, at_piece = places(batch)
        targets = torch.from_numpy(np.concatenate([batch.encoded.targets[1][unit] for unit in batch.units]))
        logits = network(batch.inputs)[at_row, at_piece]  # (W, C)
        return F.cross_entropy(
            logits.float(),
            targets.to(batch.device),
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )

    def outputs(self, network: TaskNetwork, batch: Batch) -> list[np.ndarray]:
        """Return the logits of the words judged in each row, (W, C) float32."""
        at_row, at_piece = places(batch)
        logits = network(batch.inputs)[at_row, at_piece].float().cpu().numpy()
        sizes = [len(batch.encoded.targets[0][unit].words) for unit in batch.units]
        return list(np.split(logits, np.cumsum(sizes)[:-1]))

    def decode(self, outputs: Sequence[np.ndarray], encoded: Encoded) -> list[TagsPrediction]:
        """Return the tags of each sentence, by the rules of its scheme."""
        chosen = [np.zeros(len(one.words), dtype=np.int64) for one in encoded.examples]
        sure = [np.zeros(len(one.words)) for one in encoded.examples]
        for row, logits in zip(encoded.targets[0], outputs, strict=True):
            if not len(row.words):
                continue
            odds = np.exp(logits - logits.max(-1, keepdims=True))
            chosen[row.sentence][row.words] = logits.argmax(-1)
            sure[row.sentence][row.words] = odds.max(-1) / odds.sum(-1)
        predictions = []
        for example, numbers, probabilities in zip(encoded.examples, chosen, sure, strict=True):
            tags, changes = repair([self.labels[number] for number in numbers], self.scheme)
            predictions.append(TagsPrediction(list(example.words), tags, probabilities.tolist(), changes))
        return predictions

    def judge(self, examples: Sequence[TaggedExample], predictions: Sequence[TagsPrediction]) -> Judgement:
        """Compare entities and tags; the columns are counts by sentence."""
        columns: dict[str, list[int]] = {"right": [], "given": [], "asked": [], "right_tags": [], "words": []}
        for example, prediction in zip(examples, predictions, strict=True):
            tags, _ = repair(example.tags or (), self.scheme)
            asked, given = set(read_spans(tags)), set(read_spans(prediction.tags))
            values = (
                len(asked & given),
                len(given),
                len(asked),
                sum(one == other for one, other in zip(tags, prediction.tags, strict=True)),
                len(tags),
            )
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        arrays = {name: np.array(values) for name, values in columns.items()}
        return Judgement(arrays, plain_formula if self.scheme == "plain" else formula)


def build(examples: Sequence[TaggedExample], config: FinetuneConfig) -> Tagging:
    """Make the task for some training examples; of each type of entity it has all tags that one may need.

    Raises:
        DataError: If they have fewer than two tags.
    """
    written = {tag for example in examples for tag in example.tags or ()}
    scheme = find_scheme(sorted(written))
    labels = with_siblings(written, scheme)
    if len(labels) < 2:
        raise DataError(
            f"the training examples have {len(labels)} tag(s) ({', '.join(sorted(labels))}); two are needed."
        )
    return Tagging(tuple(sorted(labels, key=lambda tag: (tag != OUTSIDE, tag))), config)


def _of_row(row: WordRow, tags: np.ndarray | None) -> np.ndarray:
    return np.zeros(0, dtype=np.int64) if tags is None else tags[row.words]


def places(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return where in the batch the judged words stand: row and first piece, each (W,) int64."""
    rows: list[WordRow] = [batch.encoded.targets[0][unit] for unit in batch.units]
    at_row = np.repeat(np.arange(len(rows)), [len(row.pieces) for row in rows])
    at_piece = np.concatenate([row.pieces for row in rows])
    return torch.from_numpy(at_row).to(batch.device), torch.from_numpy(at_piece).to(batch.device)


def formula(columns: Columns) -> dict[str, float]:
    """Return F1, precision and recall of entities, and the share of right tags; 0 where nothing was asked or given."""
    right, given, asked = (int(columns[name].sum()) for name in ("right", "given", "asked"))
    return {
        "f1": 2 * right / (given + asked) if given + asked else 0.0,
        "precision": right / given if given else 0.0,
        "recall": right / asked if asked else 0.0,
        **plain_formula(columns),
    }


def plain_formula(columns: Columns) -> dict[str, float]:
    """Return the share of right tags."""
    return {"accuracy": float(columns["right_tags"].sum() / max(1, columns["words"].sum()))}
