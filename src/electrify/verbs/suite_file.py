"""Suites: lists of tasks in a TOML file, which are fine-tuned on one after the other or at once.

name = "GLUE"
[settings]                    # of `FinetuneConfig`, for all tasks
learning_rate = 3e-4
[[task]]
name = "RTE"
kind = "classification"
train = "RTE/train.tsv"       # below the folder given with --data
valid = "RTE/dev.tsv"
shown = ["accuracy", "f1"]      # in the table
after = "MNLI"                # begin from that task's network
settings = {num_epochs = 10}
fields = {text = "sentence1", text_b = "sentence2"}
submit = [{file = "RTE.tsv", data = "RTE/test.tsv"}]
"""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from electrify.config import FinetuneConfig, Section
from electrify.errors import ConfigError, did_you_mean
from electrify.recipes import explain, merged
from electrify.tasks.kinds import METRICS, Fields, check_kind


class FieldNames(Section):
    """Names of the fields of a file; what is not given has its usual name."""

    text: str | None = None
    text_b: str | None = None
    label: str | None = None
    group: str | None = None
    columns: tuple[str, ...] = ()
    """Columns of a table without a header."""

    def resolve(self) -> Fields:
        """Return them as the readers take them."""
        return Fields(self.text, self.text_b, self.label, self.group, self.columns)


class Submission(Section):
    """Predictions for a test set without labels, as its owners want them."""

    file: str
    """What is written, into the task's folder."""
    data: str
    """The test set."""
    fields: FieldNames | None = None
    """If they differ from those of the other parts."""


def _not_a_column(name: str) -> str:
    if name == "mean":
        raise ValueError("a task may not be called mean, as the mean over all tasks is")
    return name


class SuiteTask(Section):
    """One task."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]{0,99}$"), AfterValidator(_not_a_column)]
    kind: str
    train: str
    valid: str
    test: str | None = None
    metric: str | None = None
    """What chooses epochs; the kind's first if not given."""
    shown: tuple[str, ...] = ()
    """Metrics in the table, a column each; the one that chooses epochs if empty."""
    fields: FieldNames = FieldNames()
    settings: dict[str, Any] = Field(default_factory=dict)
    """On top of the suite's."""
    after: str | None = None
    """Task whose network this one begins with; the model's own if not given."""
    max_bad_share: float = 0.0
    submit: tuple[Submission, ...] = ()


class Suite(Section):
    """A list of tasks."""

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    task: tuple[SuiteTask, ...]

    def config(self, task: SuiteTask, overrides: Mapping[str, Any]) -> FinetuneConfig:
        """Return the settings of a task: the suite's, then its own, then those of the command line.

        Raises:
            ConfigError: Naming the first that is wrong.
        """
        own = task.settings if task.metric is None else {**task.settings, "metric": task.metric}
        values = merged(merged(self.settings, own), overrides)
        try:
            return FinetuneConfig.model_validate(values)
        except ValidationError as problem:
            raise ConfigError(f"suite {self.name}, task {task.name}: {explain(problem, FinetuneConfig)}") from None


def suite_names() -> list[str]:
    """Return the names of the shipped suites."""
    return sorted(
        Path(entry.name).stem for entry in (files("electrify") / "suites").iterdir() if entry.name.endswith(".toml")
    )


def load_suite(suite: str | Path) -> Suite:
    """Read a suite.

    Args:
        suite: A shipped name ("glue") or the path of a TOML file.

    Raises:
        ConfigError: If there is no such suite, or something in it is wrong.
    """
    path = Path(suite)
    shipped = files("electrify") / "suites" / f"{suite}.toml"
    if not path.is_file() and not shipped.is_file():
        known = did_you_mean(str(suite), suite_names())
        raise ConfigError(f"no suite '{suite}', neither a shipped one nor a file.{known}")
    text = path.read_text(encoding="utf-8-sig") if path.is_file() else shipped.read_text(encoding="utf-8")
    try:
        loaded = Suite.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError(f"{suite}: not valid TOML ({problem}).") from None
    except ValidationError as problem:
        raise ConfigError(f"{suite}: {explain(problem, Suite)}") from None
    names = [one.name for one in loaded.task]
    for one in loaded.task:
        check_kind(one.kind)
        loaded.config(one, {})
        metrics = METRICS[one.kind]
        for metric in (*one.shown, *((one.metric,) if one.metric else ())):
            if metric not in metrics:
                raise ConfigError(
                    f"{suite}: task {one.name}: {one.kind} has no metric '{metric}'.{did_you_mean(metric, metrics)}"
                )
        if names.count(one.name) > 1:
            raise ConfigError(f"{suite}: two tasks are called '{one.name}'.")
        if one.after is not None and one.after not in names[: names.index(one.name)]:
            raise ConfigError(f"{suite}: task {one.name} comes after '{one.after}', which is no task before it.")
    return loaded
