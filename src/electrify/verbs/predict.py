"""Use a fine-tuned network: predict labels for new examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrify.data.labelled import Example
from electrify.tasks.batches import choose_place, num_cut, predict_outputs
from electrify.tasks.kinds import read_part
from electrify.verbs.evaluate import evaluate, without_labels
from electrify.verbs.finetuned import Finetuned, open_finetuned

__all__ = ["Predictions", "evaluate", "predict"]


@dataclass(frozen=True, slots=True)
class Predictions:
    """One prediction for each example, in their order."""

    predictions: list[Any]
    """`Prediction`, `LabelsPrediction`, `ScorePrediction`, `TagsPrediction`, `AnswerPrediction`, `ChoicePrediction` or
    `IntentPrediction`."""
    num_cut_examples: int
    """Examples longer than the model takes, which were cut."""


def predict(
    folder: str | Path | Finetuned, examples: str | Path | Sequence[Any], *, precision: str = "auto"
) -> Predictions:
    """Predict something for every example.

    Args:
        folder: A fine-tuned network.
        examples: A file of them, or a list as the kind of task has them, of classification also plain texts; labels
            are not read.
        precision: "auto", "bf16" or "fp32".
    """
    opened = folder if isinstance(folder, Finetuned) else open_finetuned(folder)
    if isinstance(examples, str | Path):
        examples = read_part(opened.task.kind, examples, fields=None, needs_labels=False)
    examples = [Example(one, None, None) if isinstance(one, str) else one for one in examples]
    if not examples:
        return Predictions([], 0)
    place = choose_place(precision, pad_id=opened.tokenizer.pad_id)
    unlabelled = without_labels(examples)
    encoded = opened.task.encode(unlabelled, opened.tokenizer, max_length=opened.max_length)
    outputs = predict_outputs(opened.network.to(place.device), opened.task, encoded, place)
    return Predictions(opened.task.decode(outputs, encoded), num_cut([encoded]))
