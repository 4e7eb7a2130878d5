"""More steps for a run that is finished.

Where the learning rate was at its peak until it fell at the end (warm-up–stable–decay, Hu et al. 2024), the run goes on
from the state before the fall, kept in `stable/`: it becomes the longer run that it would have been, without a seam,
unless something beside the learning rate moves over the whole run (`masking.mask_prob_end` and the like). Where it is
constant, the run goes on from its end in the same way.
With any other schedule the learning rate has come down to zero; the run goes on from its end with a second warm-up and
a second fall (re-warming, Ibrahim et al. 2024, arXiv 2403.08763), and all that moves over a run begins again.
"""

import logging
from pathlib import Path

from electrify import recipes
from electrify.config import PretrainConfig, ScheduleConfig
from electrify.errors import CheckpointError, ConfigError
from electrify.files import read_json, write_text
from electrify.pretraining.folder import refuse_other_config
from electrify.training.checkpoints import list_states, load_newest_state, save_state
from electrify.training.schedules import learning_rate_factor

_LOG = logging.getLogger(__name__)
STABLE_FOLDER = "stable"
_MOVES_OVER_ALL = ("masking.mask_prob_end", "objective.disc_weight_start", "objective.temperature_start")
"""Settings of what depends on the share of a run that is done, so on how long it is, in the stable phase too."""


def extend_run(folder: Path, config: PretrainConfig, *, num_steps: int) -> PretrainConfig:
    """Make a finished run one that has steps left; resume it then.

    If the process dies in between, the run is what it was before, or one that `--resume` finishes again.

    Args:
        folder: The run's folder.
        config: What is asked for; must be what the run was begun with.
        num_steps: How many more steps.

    Returns:
        The config with the longer schedule, which is now the run's.

    Raises:
        ConfigError: If the run is not finished, or was begun with other settings.
        CheckpointError: If its states are damaged.
    """
    if num_steps < 1:
        raise ConfigError(f"extend must be at least 1 step, got {num_steps}.")
    finished = _finished_steps(folder, config.schedule)
    refuse_other_config(folder, config)
    stable = load_newest_state(folder / STABLE_FOLDER) if config.schedule.kind == "warmup_stable_decay" else None
    if stable is not None:
        schedule = _prolonged(config.schedule, finished, num_steps)
        save_state(folder / "state", stable, keep_last=config.checkpoint.keep_last)
        _LOG.info("Going on from step %d, where the learning rate was at its peak.", stable.step)
    elif config.schedule.kind == "constant":
        schedule = _prolonged(config.schedule, finished, num_steps)
        _LOG.info("Going on from step %d with the learning rate as it is.", finished)
    else:
        steps = {"start_step": finished, "num_steps": finished + num_steps, "budget_minutes": None}
        schedule = config.schedule.model_copy(update=steps)
        _LOG.info("Going on from step %d with a second warm-up.", finished)
    _warn_of_seam(config, begins_again=schedule.start_step == finished)
    longer = config.model_copy(update={"schedule": schedule})
    write_text(folder / "config.toml", recipes.render(longer))
    return longer


def leaves_stable_phase(schedule: ScheduleConfig, before: float, now: float) -> bool:
    """Return whether the learning rate falls from its peak for the first time.

    Args:
        schedule: Only warm-up–stable–decay has such a moment.
        before: Factor on the learning rate of the last step.
        now: Of the next step.
    """
    return schedule.kind == "warmup_stable_decay" and before == 1 and now < 1


def factor_of_step(schedule: ScheduleConfig, step: int) -> float:
    """Return the factor on the learning rate that a step of a run without a time budget had; 0 before the first."""
    length = schedule.num_steps - schedule.start_step
    return learning_rate_factor((step - schedule.start_step) / length, schedule) if step >= schedule.start_step else 0.0


def _warn_of_seam(config: PretrainConfig, *, begins_again: bool) -> None:
    places = {name: name.split(".") for name in _MOVES_OVER_ALL}
    moving = [name for name, (section, key) in places.items() if getattr(getattr(config, section), key) is not None]
    if not moving:
        return
    names = " and ".join(moving)
    if begins_again:
        _LOG.warning("%s moved over the run until here, and begins again with the new steps.", names)
    else:
        _LOG.warning(
            "%s moved as in the shorter run until here: the result is not, bit for bit, that of one longer run.", names
        )


def _finished_steps(folder: Path, schedule: ScheduleConfig) -> int:
    advice = "Only a finished run can be extended; continue it with --resume first."
    if not (folder / "results.json").is_file():
        raise ConfigError(f"{folder}: no results.json. {advice}")
    finished = read_json(folder / "results.json", error=CheckpointError).get("steps")
    states = list_states(folder / "state")
    newest = int(states[-1].name.removeprefix("step-")) if states else None
    if finished != newest:
        raise ConfigError(f"{folder}: its newest state is of step {newest}, of {schedule.num_steps}. {advice}")
    if schedule.budget_minutes is None and finished != schedule.num_steps:
        raise ConfigError(
            f"{folder}: finished at step {finished}, not {schedule.num_steps}. Give {folder / 'config.toml'} as RECIPE."
        )
    assert isinstance(finished, int)
    return finished


def _prolonged(schedule: ScheduleConfig, finished: int, num_steps: int) -> ScheduleConfig:
    """Return the schedule with more steps: a warm-up of as many steps as before, and a fall of the same share."""
    before, now = finished - schedule.start_step, finished + num_steps - schedule.start_step
    return schedule.model_copy(
        update={
            "num_steps": finished + num_steps,
            "warmup_share": schedule.warmup_share * before / now,
            "budget_minutes": None,
        }
    )
