"""Use a fine-tuned classifier: predict labels, or measure it on labelled examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrify.data.labelled import Example, read_examples
from electrify.data.tokenizer import load_tokenizer
from electrify.files import read_json
from electrify.models.checkpoint import resolve_folder
from electrify.tasks import classification
from electrify.tasks.features import encode_examples
from electrify.training.precision import choose_device, resolve_precision
from electrify.verbs.finetune import predict_logits
from electrify.verbs.loading import load_classifier


@dataclass(frozen=True, slots=True)
class Predictions:
    """One prediction for each example, in their order."""

    predictions: list[classification.Prediction]
    num_cut_examples: int
    """Examples longer than the model takes, which were cut."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a classifier is on some labelled examples."""

    num_examples: int
    num_cut_examples: int
    metrics: dict[str, float]
    confusion: dict[str, dict[str, int]]
    """Counts by right label, then by predicted label."""


def predict(folder: str | Path, examples: Sequence[Example], *, precision: str = "auto") -> Predictions:
    """Predict a label for every example.

    Args:
        folder: A fine-tuned classifier.
        examples: Texts or pairs; labels are not read.
        precision: "auto", "bf16" or "fp32".
    """
    path = resolve_folder(folder)
    tokenizer, network = load_tokenizer(path), load_classifier(path)
    device = choose_device()
    limit = _max_length(path, network.config.max_position_embeddings)
    features = encode_examples(examples, tokenizer, max_length=limit)
    if not examples:
        return Predictions([], 0)
    logits = predict_logits(
        network.to(device),
        features,
        pad_id=tokenizer.pad_id,
        device=device,
        dtype=resolve_precision(precision, device),
    )
    return Predictions(classification.decode(logits, network.labels), features.num_cut_examples)


def evaluate(
    folder: str | Path,
    data: str | Path,
    *,
    text_field: str = "text",
    text_b_field: str | None = None,
    label_field: str = "label",
) -> Evaluation:
    """Measure a classifier on labelled examples.

    Args:
        folder: A fine-tuned classifier.
        data: Labelled examples: .jsonl, .csv, .tsv or .parquet, also compressed.
        text_field: Column of the text.
        text_b_field: Column of a pair's second text.
        label_field: Column of the label.

    Raises:
        DataError: If a label is none of the model's.
    """
    examples = read_examples(data, text_field=text_field, text_b_field=text_b_field, label_field=label_field)
    result = predict(folder, examples)
    labels = list(result.predictions[0].probabilities)
    targets = classification.encode_labels(examples, labels, source=str(data)).tolist()
    predicted = [labels.index(prediction.label) for prediction in result.predictions]
    confusion = {right: dict.fromkeys(labels, 0) for right in labels}
    for target, guess in zip(targets, predicted, strict=True):
        confusion[labels[target]][labels[guess]] += 1
    return Evaluation(len(examples), result.num_cut_examples, classification.measure(targets, predicted), confusion)


def _max_length(path: Path, limit: int) -> int:
    """Return the length that the classifier was trained with, or else what its body takes."""
    ours: Any = read_json(path / "config.json").get("electrify", {})
    length = ours.get("max_length", limit) if isinstance(ours, dict) else limit
    return length if isinstance(length, int) and 2 < length <= limit else limit
