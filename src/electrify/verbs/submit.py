"""Predictions for test sets without labels, in the formats in which GLUE and SQuAD take them.

GLUE wants a table of row number and label ("index", "prediction"), SQuAD a JSON object of answers by question and, for
version 2.0, one of how likely each has no answer.
"""

import math
from pathlib import Path
from typing import Any

from electrify.errors import ConfigError
from electrify.files import write_json, write_text
from electrify.tasks.answering import QuestionAnswering
from electrify.tasks.classification import Classification
from electrify.tasks.kinds import Fields, read_part
from electrify.tasks.ranking import Ranking
from electrify.tasks.regression import Regression
from electrify.verbs.finetuned import open_finetuned
from electrify.verbs.predict import predict

NO_ANSWER_FILE = "na_prob"


def write_submission(
    folder: str | Path, data: str | Path, output: str | Path, *, fields: Fields | None = None, precision: str = "auto"
) -> list[Path]:
    """Predict a test set and write the file that its owners take.

    Args:
        folder: A fine-tuned network.
        data: The test set; labels are not read.
        output: `.tsv` for GLUE, `.json` for SQuAD.
        fields: Names of the fields.
        precision: "auto", "bf16" or "fp32".

    Returns:
        The files that were written; for SQuAD 2.0 also `OUTPUT.na_prob.json`.

    Raises:
        ConfigError: If there is no such format for this kind of task.
    """
    opened = open_finetuned(folder)
    target = Path(output)
    examples = read_part(opened.task.kind, data, fields=fields, needs_labels=False)
    predictions = predict(opened, examples, precision=precision).predictions
    if isinstance(opened.task, QuestionAnswering):
        return _write_squad(target, predictions, can_be_unanswerable=opened.task.can_be_unanswerable)
    if isinstance(opened.task, Regression):
        values = [f"{one.score:.3f}" for one in predictions]
    elif isinstance(opened.task, Classification | Ranking):
        values = [one.label for one in predictions]
    else:
        raise ConfigError(f"there is no submission format for {opened.task.kind}; use `electrify predict --json`.")
    rows = "".join(f"{index}\t{value}\n" for index, value in enumerate(values))
    write_text(target, f"index\tprediction\n{rows}")
    return [target]


def _write_squad(target: Path, predictions: list[Any], *, can_be_unanswerable: bool) -> list[Path]:
    write_json(target, {one.id: one.text for one in predictions})
    if not can_be_unanswerable:
        return [target]
    chances = target.with_name(f"{target.stem}.{NO_ANSWER_FILE}.json")
    write_json(chances, {one.id: _sigmoid(one.no_answer_score) for one in predictions})
    return [target, chances]


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))
