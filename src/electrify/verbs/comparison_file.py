"""Comparisons: variants of a run in a TOML file, with one budget for all and the tasks that judge them.

name = "objectives"
seeds = [0, 1, 2]                   # of pre-training; each variant has a run with each
[budget]                            # exactly one of:
flops = 2e15                        # operations of a run, counted from its config; or minutes = 10; or tokens = 1e7
[evaluation]
suite = "sentence-eval"             # a shipped suite or a TOML file
only = ["sst2", "trec"]             # its tasks; all if not given
seeds = [0]                         # of fine-tuning, for every run
settings = {num_epochs = 2}         # of `FinetuneConfig`, on top of the suite's
[shared]                            # holds for every variant that does not say otherwise
recipe = "tiny"
optimizer = {learning_rate = 1e-3}
[[variant]]                         # the first is the one that the others are compared with
name = "rtd"
[[variant]]
name = "mlm"
objective = {kind = "mlm"}          # any section of a recipe
"""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from electrify import recipes
from electrify.config import PretrainConfig, Section
from electrify.config.section import Rate
from electrify.errors import ConfigError, did_you_mean
from electrify.recipes import explain
from electrify.verbs.suite_file import Suite, load_suite

Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=1 << 63)], ...], Field(min_length=1)]
_FROM_BUDGET = {"schedule": ("num_steps", "budget_minutes"), "data": ("path",)}
_SECTIONS = [name for name in PretrainConfig.model_fields if name not in ("seed", "init_from")]


class Budget(Section):
    """What every run may cost; exactly one is given."""

    flops: Rate | None = None
    """Operations of the matrix products that the objective can not do without; see `pretraining.compute`."""
    minutes: Rate | None = None
    """Minutes of training."""
    tokens: Rate | None = None
    """Real tokens trained on, special ones included."""

    def text(self) -> str:
        """Return it for a reader."""
        values = {"operations": self.flops, "minutes": self.minutes, "tokens": self.tokens}
        return next(f"{value:,.4g} {unit}" for unit, value in values.items() if value is not None)


class Evaluation(Section):
    """How the runs are judged."""

    suite: str
    """A shipped suite or the path of a TOML file, from where the comparison's file is or from here."""
    only: tuple[str, ...] = ()
    """Tasks of the suite; all if empty."""
    seeds: Seeds = (0,)
    """Of fine-tuning, for every run and task."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of fine-tuning, on top of the suite's."""


class Settings(Section):
    """A recipe and what replaces its values."""

    recipe: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    model: dict[str, Any] = Field(default_factory=dict)
    masking: dict[str, Any] = Field(default_factory=dict)
    objective: dict[str, Any] = Field(default_factory=dict)
    optimizer: dict[str, Any] = Field(default_factory=dict)
    schedule: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)
    logging: dict[str, Any] = Field(default_factory=dict)
    checkpoint: dict[str, Any] = Field(default_factory=dict)

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return the values that replace a recipe's, by section."""
        return {name: dict(getattr(self, name)) for name in _SECTIONS if getattr(self, name)}


class Variant(Settings):
    """What is compared."""

    name: str = Field(pattern=r"^[^\W_][\w.-]{0,99}$")


class ComparisonPlan(Section):
    """A comparison as its file says it."""

    name: str
    budget: Budget
    seeds: Seeds = (0, 1, 2)
    """Of pre-training: initial weights, order of rows, masks."""
    evaluation: Evaluation
    shared: Settings = Settings()
    variant: Annotated[tuple[Variant, ...], Field(min_length=1)]

    def recipe(self, variant: Variant) -> str:
        """Return the recipe of a variant; `load_comparison` has seen to it that there is one."""
        name = variant.recipe or self.shared.recipe
        assert name is not None
        return name

    def overrides(self, variant: Variant) -> dict[str, Any]:
        """Return what replaces the recipe's values, the variant's before those that all share."""
        return recipes.merged(self.shared.sections(), variant.sections())


def comparison_names() -> list[str]:
    """Return the names of the shipped comparisons."""
    folder = files("electrify") / "comparisons"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_comparison(comparison: str | Path) -> tuple[ComparisonPlan, Suite]:
    """Read a comparison and the suite that it names, and check all that can be checked without data.

    Args:
        comparison: A shipped name ("objectives") or the path of a TOML file.

    Returns:
        The comparison, its suite's place resolved; and the suite, with the chosen tasks only.

    Raises:
        ConfigError: If there is none of that name, or something in it is wrong.
    """
    path = Path(comparison)
    shipped = files("electrify") / "comparisons" / f"{comparison}.toml"
    if not path.is_file() and not shipped.is_file():
        known = did_you_mean(str(comparison), comparison_names())
        raise ConfigError(f"no comparison '{comparison}', neither a shipped one nor a file.{known}")
    source = path if path.is_file() else shipped
    try:
        plan = ComparisonPlan.model_validate(tomllib.loads(source.read_text(encoding="utf-8-sig")))
    except ValidationError as problem:
        raise ConfigError(f"{comparison}: {explain(problem, ComparisonPlan)}") from None
    except ValueError as problem:  # not TOML or not UTF-8
        raise ConfigError(f"{comparison}: not valid TOML ({problem}).") from None
    given = [name for name, value in plan.budget if value is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ConfigError(f"{comparison}: [budget] takes exactly one of flops, minutes and tokens, got {found}.")
    for seeds, where in ((plan.seeds, "seeds"), (plan.evaluation.seeds, "evaluation.seeds")):
        if len(set(seeds)) < len(seeds):
            raise ConfigError(f"{comparison}: {where} names a seed twice: {list(seeds)}.")
    _check_variants(plan, comparison)
    beside = path.parent / plan.evaluation.suite
    found = str(beside) if path.is_file() and beside.is_file() else plan.evaluation.suite
    plan = plan.model_copy(update={"evaluation": plan.evaluation.model_copy(update={"suite": found})})
    return plan, _chosen(load_suite(found), plan.evaluation, comparison)


def _check_variants(plan: ComparisonPlan, source: str | Path) -> None:
    names = [one.name for one in plan.variant]
    for one in plan.variant:
        where = f"{source}: variant {one.name}"
        if names.count(one.name) > 1:
            raise ConfigError(f"{source}: two variants are called '{one.name}'.")
        if one.recipe is None and plan.shared.recipe is None:
            raise ConfigError(f"{where}: it names no recipe, and [shared] has none either.")
        overrides = plan.overrides(one)
        for section, keys in _FROM_BUDGET.items():
            for key in keys:
                if key in overrides.get(section, {}):
                    origin = "[budget]" if section == "schedule" else "--data.path"
                    raise ConfigError(f"{where}: {section}.{key} follows from {origin}; leave it out.")
        try:
            config = recipes.load_recipe(plan.recipe(one), overrides)
        except ConfigError as problem:
            raise ConfigError(f"{where}: {problem}") from None
        if config.init_from is not None:
            raise ConfigError(f"{where}: its recipe has init_from, and what was learned before is not in the budget.")


def _chosen(suite: Suite, evaluation: Evaluation, source: str | Path) -> Suite:
    names = [task.name for task in suite.task]
    for one in evaluation.only:
        if one not in names:
            raise ConfigError(f"{source}: suite {suite.name} has no task '{one}'.{did_you_mean(one, names)}")
    tasks = tuple(task for task in suite.task if not evaluation.only or task.name in evaluation.only)
    for task in tasks:
        if task.after is not None and task.after not in (other.name for other in tasks):
            raise ConfigError(f"{source}: task {task.name} begins with the network of {task.after}; add it to `only`.")
        suite.config(task, evaluation.settings)
    return suite.model_copy(update={"task": tasks})
