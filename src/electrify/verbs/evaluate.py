"""Measure a fine-tuned network on labelled examples: how good, how sure that is, and where it goes wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from electrify.tasks.batches import choose_place, num_cut, predict_outputs
from electrify.tasks.bootstrap import NUM_DRAWS, Comparison, Interval, compare, intervals
from electrify.tasks.calibration import Calibration, calibrate
from electrify.tasks.errors import ClassScores, Mistake, class_table, confusion_of, worst_mistakes
from electrify.tasks.judgement import Judgement
from electrify.tasks.kinds import Fields, read_part
from electrify.verbs.finetuned import Finetuned, open_finetuned


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a network is on some labelled examples."""

    num_examples: int
    num_cut_examples: int
    metrics: dict[str, float]
    confusion: dict[str, dict[str, int]]
    """Counts by right label, then by predicted label; empty where a task has no labels of its own."""
    task: str
    intervals: dict[str, Interval]
    """Each metric with where it lies with a confidence of 95 %."""
    classes: dict[str, ClassScores]
    """Precision, recall, F1 and number by label or type of entity."""
    calibration: Calibration | None
    """Whether the probabilities mean what they say; None for tasks without probabilities of single answers."""
    mistakes: list[Mistake]
    """The worst errors: wrong and surest first."""
    comparison: Comparison | None
    """Against a baseline, if one was given."""
    counts: dict[str, int]
    """What was cut or repaired, by name."""


def evaluate(
    folder: str | Path,
    data: str | Path,
    *,
    fields: Fields | None = None,
    text_field: str | None = None,
    text_b_field: str | None = None,
    label_field: str | None = None,
    baseline: str | Path | None = None,
    metric: str | None = None,
    num_mistakes: int = 20,
    num_draws: int = NUM_DRAWS,
    precision: str = "auto",
) -> Evaluation:
    """Measure a network on labelled examples.

    Args:
        folder: A fine-tuned network.
        data: Labelled examples: .jsonl, .csv, .tsv or .parquet, also compressed; SQuAD's .json for questions.
        fields: Names of the fields of the file.
        text_field: Field of the text; the same as in `fields`, as are the next two.
        text_b_field: Field of a pair's second text.
        label_field: Field of the label.
        baseline: Another fine-tuned network of the same kind, to compare with on these examples.
        metric: What is compared; the task's first metric if not given.
        num_mistakes: How many of the worst errors are listed.
        num_draws: How often examples are drawn for the intervals; 0 gives none.
        precision: "auto", "bf16" or "fp32".

    Raises:
        DataError: If a label is none of the model's.
    """
    opened = open_finetuned(folder)
    names = fields or Fields(text_field, text_b_field, label_field)
    examples = read_part(opened.task.kind, data, fields=names)
    judgement, predictions, counts, cut = judge(opened, examples, precision=precision)
    comparison = None
    if baseline is not None:
        other, _, _, _ = judge(open_finetuned(baseline), examples, precision=precision)
        name = metric or opened.task.metrics[0]
        comparison = compare([judgement], [other], metric=name, part=str(data), num_draws=num_draws or NUM_DRAWS)
    return Evaluation(
        num_examples=len(examples),
        num_cut_examples=cut,
        metrics=judgement.metrics(),
        confusion=confusion_of(opened.task, examples, predictions),
        task=opened.task.kind,
        intervals=intervals(judgement, num_draws=num_draws) if num_draws else {},
        classes=class_table(opened.task, examples, predictions),
        calibration=calibrate(opened.task, examples, predictions),
        mistakes=worst_mistakes(opened.task, examples, predictions, most=num_mistakes),
        comparison=comparison,
        counts=counts,
    )


def judge(
    opened: Finetuned, examples: Sequence[Any], *, precision: str = "auto"
) -> tuple[Judgement, list[Any], dict[str, int], int]:
    """Return the judgement of a network on examples, its predictions, and what was repaired and cut."""
    place = choose_place(precision, pad_id=opened.tokenizer.pad_id)
    encoded = opened.task.encode(examples, opened.tokenizer, max_length=opened.max_length)
    outputs = predict_outputs(opened.network.to(place.device), opened.task, encoded, place)
    predictions = opened.task.decode(outputs, encoded)
    return opened.task.judge(examples, predictions), predictions, encoded.counts, num_cut([encoded])


def without_labels(examples: Sequence[Any]) -> list[Any]:
    """Return examples as if nobody knew their labels, which may be others than the model's."""
    unknown = {"label": None, "labels": (), "tags": None, "answers": None}
    return [replace(one, **{name: value for name, value in unknown.items() if hasattr(one, name)}) for one in examples]
