"""Search the settings of fine-tuning with Optuna.

The default space is the paper's (Clark et al. 2020, appendix B): learning rate and layer-wise decay, nothing else. The
validation part chooses; what is found is only as good as that part is large.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from electrify.config import FinetuneConfig
from electrify.errors import ConfigError, ElectrifyError, TrainingError, did_you_mean
from electrify.files import new_folder, refuse_existing, write_json
from electrify.recipes import explain
from electrify.tasks.kinds import Fields
from electrify.verbs.finetune import check_seeds, finetune

_LOG = logging.getLogger(__name__)
SPACE: dict[str, tuple[float, ...]] = {
    "learning_rate": (3e-5, 5e-5, 1e-4, 1.5e-4),
    "layerwise_lr_decay": (0.9, 0.8, 0.7),
}
"""Values of each setting that are tried."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of settings."""

    settings: dict[str, Any]
    value: float
    """Mean of the metric over the seeds."""


@dataclass(frozen=True, slots=True)
class TuneReport:
    """The whole search."""

    output: str
    metric: str
    best: Trial
    trials: list[Trial]
    """In the order in which they were tried."""
    failed: list[dict[str, Any]]
    """Settings with which the loss was no number."""


def tune(
    model: str | Path,
    *,
    train: str | Path,
    validation: str | Path,
    output: str | Path,
    task: str = "classification",
    space: Mapping[str, Sequence[Any]] | None = None,
    num_trials: int = 12,
    seeds: Sequence[int] = (0,),
    config: FinetuneConfig | None = None,
    fields: Fields | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> TuneReport:
    """Try settings of fine-tuning, and write the best ones.

    Args:
        model: Published folder of an encoder.
        train: Labelled examples.
        validation: The part that chooses.
        output: Folder for `results.json` with all trials; no network is kept.
        task: Kind of task.
        space: Values of each setting to choose from; the paper's if not given.
        num_trials: Choices that are tried; a space that is smaller is tried whole, each choice once.
        seeds: Runs of each choice, averaged.
        config: The settings that are not searched.
        fields: Names of the fields.
        seed: Of the search.
        overwrite: Replace what is in `output`.

    Raises:
        ConfigError: If the space names a setting that does not exist.
        ElectrifyError: If Optuna is not installed.
        TrainingError: If no choice could be trained.
    """
    try:
        import optuna
    except ImportError:
        raise ElectrifyError("Optuna is not installed: pip install 'electrify[tune]'.") from None
    choices = dict(space or SPACE)
    base = config or FinetuneConfig()
    for name in choices:
        if name not in FinetuneConfig.model_fields:
            raise ConfigError(f"space: no setting '{name}'.{did_you_mean(name, FinetuneConfig.model_fields)}")
        for value in choices[name]:
            try:
                FinetuneConfig.model_validate(base.model_dump() | {name: value})
            except ValidationError as problem:
                raise ConfigError(f"space: {explain(problem, FinetuneConfig)}") from None
    check_seeds(seeds)
    if num_trials < 1:
        raise ConfigError(f"num_trials must be at least 1, got {num_trials}.")
    target = Path(output)
    refuse_existing(target, overwrite=overwrite, inputs=[train, validation, model])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    size = 1
    for values in choices.values():
        size *= len(values)
    sampler: Any = optuna.samplers.TPESampler(seed=seed)
    if size <= num_trials:
        sampler = optuna.samplers.GridSampler({name: list(values) for name, values in choices.items()}, seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trials: list[Trial] = []
    failed: list[dict[str, Any]] = []
    metric = base.metric

    def run(trial: Any) -> float:
        nonlocal metric
        settings = {name: trial.suggest_categorical(name, list(values)) for name, values in choices.items()}
        known = next((one for one in trials if one.settings == settings), None)
        if known is not None:
            return known.value
        with tempfile.TemporaryDirectory() as folder:
            try:
                report = finetune(
                    model,
                    train=train,
                    validation=validation,
                    output=Path(folder) / "out",
                    task=task,
                    seeds=seeds,
                    config=FinetuneConfig.model_validate(base.model_dump() | settings),
                    fields=fields,
                )
            except TrainingError as problem:
                _LOG.warning("%s: %s", settings, problem)
                failed.append(settings)
                raise optuna.TrialPruned from None
        metric = report.metric
        trials.append(Trial(settings, report.validation["mean"]))
        return trials[-1].value

    study.optimize(run, n_trials=min(num_trials, size))
    if not trials:
        raise TrainingError(f"all {len(failed)} choices failed. Search lower learning rates.")
    best = max(trials, key=lambda one: one.value)
    report = TuneReport(str(target), str(metric), best, trials, failed)
    with new_folder(target) as temporary:
        write_json(
            temporary / "results.json",
            {
                "model": str(model),
                "task": task,
                "metric": metric,
                "seeds": list(seeds),
                "best": {"settings": best.settings, "value": best.value},
                "trials": [{"settings": one.settings, "value": one.value} for one in trials],
                "failed": failed,
            },
        )
    return report
