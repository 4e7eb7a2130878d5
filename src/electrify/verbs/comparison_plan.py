"""What a comparison is going to do: one run for each variant and seed, as long as the budget pays for."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrify import recipes
from electrify.config import PretrainConfig
from electrify.data.shards import ShardFolder
from electrify.errors import ConfigError
from electrify.pretraining.compute import RowCost, row_cost, steps_for
from electrify.runs import METRICS
from electrify.verbs.apart import RESULTS
from electrify.verbs.comparison_file import Budget, ComparisonPlan, Variant

_NUM_EVALUATIONS = 10


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that is done or to be done."""

    variant: Variant
    seed: int
    recipe: str
    overrides: dict[str, Any]
    config: PretrainConfig
    cost: RowCost
    folder: Path

    @property
    def label(self) -> str:
        """Return what the run is called in the tables of scores."""
        return f"{self.variant.name}.seed-{self.seed}"

    def share_done(self, scores: Path, tasks: Sequence[str]) -> float:
        """Return how much of the run is done: training is one half, the tasks that judge it the other.

        Args:
            scores: Folder of all runs' scores.
            tasks: Names of the tasks.
        """
        if (self.folder / RESULTS).exists():
            return (1 + sum((scores / self.label / task / RESULTS).exists() for task in tasks) / len(tasks)) / 2
        metrics = self.folder / METRICS
        lines = metrics.read_bytes().rpartition(b"\n")[0].splitlines() if metrics.exists() else []
        return json.loads(lines[-1])["step"] / self.config.schedule.num_steps / 2 if lines else 0.0


def plan_run(plan: ComparisonPlan, variant: Variant, seed: int, shards: ShardFolder, folder: Path) -> PlannedRun:
    """Return the run of a variant with a seed.

    Args:
        plan: The comparison.
        variant: One of its variants.
        seed: Of pre-training.
        shards: What is trained on.
        folder: Of the comparison.

    Raises:
        ConfigError: If sizes do not fit each other.
    """
    recipe = plan.recipe(variant)
    overrides = recipes.merged(plan.overrides(variant), {"seed": seed, "data": {"path": str(shards.path)}})
    config = recipes.load_recipe(recipe, overrides)
    try:
        cost = row_cost(config, shards)
    except ConfigError as problem:
        raise ConfigError(f"variant {variant.name}: {problem}") from None
    length = _length(plan.budget, config, cost)
    overrides = recipes.merged(overrides, {"schedule": length})
    if plan.budget.minutes is None and "every_steps" not in overrides.get("evaluation", {}):
        every = max(1, length["num_steps"] // _NUM_EVALUATIONS)
        overrides = recipes.merged(overrides, {"evaluation": {"every_steps": every}})
    place = folder / "runs" / variant.name / f"seed-{seed}"
    return PlannedRun(variant, seed, recipe, overrides, recipes.load_recipe(recipe, overrides), cost, place)


def _length(budget: Budget, config: PretrainConfig, cost: RowCost) -> dict[str, Any]:
    if budget.minutes is not None:
        return {"budget_minutes": budget.minutes}  # which lifts the recipe's number of steps
    if budget.flops is not None:
        num_steps = steps_for(budget.flops, lambda steps: cost.of(config, steps).operations)
    else:
        num_steps = steps_for(budget.tokens or 0, lambda steps: cost.of(config, steps).tokens)
    return {"num_steps": num_steps, "budget_minutes": None}
