"""All kinds of task by name: how their files are read, and how a task is made from examples or a saved folder."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electrify.config import FinetuneConfig
from electrify.data.choices import read_choices
from electrify.data.labelled import TEXT_FIELD, TextFields, read_examples
from electrify.data.questions import read_questions
from electrify.data.rejects import Rejects
from electrify.data.tagged import read_tagged
from electrify.errors import ConfigError, did_you_mean
from electrify.tasks import answering, choice, classification, intents, multilabel, ranking, regression, tagging
from electrify.tasks.judgement import Columns
from electrify.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields of a file; None means what the kind of task usually has."""

    text: str | None = None
    """The text, the words of a tagged sentence."""
    text_b: str | None = None
    """A pair's second text."""
    label: str | None = None
    """The label, labels, score, tags or right choice."""
    group: str | None = None
    """ranking: the query."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table without a header."""

    def as_json(self) -> dict[str, Any]:
        """Return them as JSON gives them back."""
        return asdict(self) | {"columns": list(self.columns)}


Build = Callable[[Any, FinetuneConfig], Task]
_BUILD: dict[str, Build] = {
    classification.KIND: classification.build,
    multilabel.KIND: multilabel.build,
    regression.KIND: regression.build,
    ranking.KIND: ranking.build,
    tagging.KIND: tagging.build,
    answering.KIND: answering.build,
    choice.KIND: choice.build,
    intents.KIND: intents.build,
}
KINDS = tuple(_BUILD)
METRICS: dict[str, tuple[str, ...]] = {
    classification.KIND: classification.METRICS,
    multilabel.KIND: multilabel.METRICS,
    regression.KIND: regression.METRICS,
    ranking.KIND: ranking.METRICS,
    tagging.KIND: tagging.ENTITY_METRICS,
    answering.KIND: (*answering.METRICS, *answering.CHARACTER_METRICS),
    choice.KIND: choice.METRICS,
    intents.KIND: intents.METRICS,
}
"""All metrics that a kind of task may have; some depend on its labels."""
_LABEL_FIELDS = {multilabel.KIND: "labels", regression.KIND: "score", tagging.KIND: "tags"}
_DEFAULT_GROUP = "qid"


def check_kind(kind: str) -> None:
    """Refuse a name that is no kind of task.

    Raises:
        ConfigError: Naming the nearest.
    """
    if kind not in _BUILD:
        raise ConfigError(f"no task '{kind}'.{did_you_mean(kind, KINDS)}")


def read_part(
    kind: str,
    path: str | Path,
    *,
    fields: Fields | None = None,
    needs_labels: bool = True,
    rejects: Rejects | None = None,
) -> list[Any]:
    """Read the examples of a file for a kind of task.

    Args:
        kind: Its name.
        path: The file.
        fields: Names of its fields.
        needs_labels: Whether a row without a label is bad.
        rejects: Where bad rows are counted, and how many are put up with; none if not given.

    Raises:
        DataError: If too many rows are bad, naming the first with its file and row, or there are none.
    """
    fields = fields or Fields()
    label = fields.label or _LABEL_FIELDS.get(kind, "label")
    text = fields.text or TEXT_FIELD
    if kind == tagging.KIND:
        words = fields.text or "tokens"
        return read_tagged(path, words_field=words, tags_field=label, needs_tags=needs_labels, rejects=rejects)
    if kind == intents.KIND:
        words = fields.text or "tokens"
        return read_tagged(path, words_field=words, label_field=label, needs_tags=needs_labels, rejects=rejects)
    if kind == answering.KIND:
        return read_questions(path, needs_answers=needs_labels, rejects=rejects)
    if kind == choice.KIND:
        return read_choices(path, text_field=text, label_field=label, needs_labels=needs_labels, rejects=rejects)
    names = TextFields(
        text,
        fields.text_b,
        label,
        labels=label if kind == multilabel.KIND else None,
        group=(fields.group or _DEFAULT_GROUP) if kind == ranking.KIND else None,
    )
    return read_examples(path, fields=names, needs_labels=needs_labels, rejects=rejects, columns=fields.columns)


def build_task(kind: str, examples: Sequence[Any], config: FinetuneConfig) -> Task:
    """Make a task from its training examples; errors as the kind's own `build`."""
    check_kind(kind)
    return _BUILD[kind](examples, config)


def state_of(task: Task) -> dict[str, Any]:
    """Return what of a task its labels and settings do not say, JSON-able."""
    if isinstance(task, answering.QuestionAnswering):
        return {"can_be_unanswerable": task.can_be_unanswerable, "threshold": task.threshold}
    return {}


def restore_task(kind: str, labels: tuple[str, ...], config: FinetuneConfig, state: dict[str, Any]) -> Task:
    """Make the task of a fine-tuned folder again.

    Args:
        kind: Its kind.
        labels: The network's.
        config: What it was trained with.
        state: What `state_of` returned.
    """
    check_kind(kind)
    if kind == answering.KIND:
        return answering.QuestionAnswering(
            config, bool(state.get("can_be_unanswerable", False)), float(state.get("threshold", 0.0))
        )
    if kind == choice.KIND:
        return choice.MultipleChoice(config)
    if kind == regression.KIND:
        return regression.Regression(config)
    if kind == tagging.KIND:
        return tagging.Tagging(labels, config)
    if kind == intents.KIND:
        return intents.IntentSlots(labels, config)
    if kind == multilabel.KIND:
        return multilabel.MultiLabel(labels, config)
    classes = classification.Classification(labels, config)
    return ranking.Ranking(classes) if kind == ranking.KIND else classes


def judged(task: Task, examples: Sequence[Any]) -> Sequence[Any]:
    """Return what each entry of a judgement is of: the examples, or those of each query that is ranked."""
    return task.judged(examples) if isinstance(task, ranking.Ranking) else examples


def formula_of(task: Task) -> Callable[[Columns], dict[str, float]]:
    """Return the metrics of a task as a formula over the columns of its judgements."""
    if isinstance(task, tagging.Tagging):
        return tagging.plain_formula if task.scheme == "plain" else tagging.formula
    if isinstance(task, intents.IntentSlots):
        return intents.plain_formula if task.slots.scheme == "plain" else intents.formula
    formulas: dict[str, Callable[[Columns], dict[str, float]]] = {
        classification.KIND: classification.formula,
        multilabel.KIND: multilabel.formula,
        regression.KIND: regression.formula,
        ranking.KIND: ranking.formula,
        answering.KIND: answering.formula,
        choice.KIND: choice.formula,
    }
    return formulas[task.kind]
