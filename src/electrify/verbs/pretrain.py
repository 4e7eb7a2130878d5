"""Pre-training: a recipe and a shard folder in, published networks out.

The run itself is `pretraining/running.py`. A killed run that is continued with `resume` equals, bit for bit, one that
was not. Under `torchrun` several processes work on one run; the first one writes and talks.
"""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electrify import recipes
from electrify.config import PretrainConfig
from electrify.data.shards import ShardFolder, open_shards
from electrify.errors import ConfigError
from electrify.files import refuse_existing, write_json
from electrify.memory import peak_bytes
from electrify.pretraining.extending import extend_run
from electrify.pretraining.running import Pretraining
from electrify.pretraining.session import Session
from electrify.pretraining.starting import START_FILE, Start, open_start, reopen_start
from electrify.progress import format_seconds
from electrify.runs import finite_or_none
from electrify.training.checkpoints import list_states
from electrify.training.distributed import join_world
from electrify.training.lock import RunLock
from electrify.training.precision import choose_device
from electrify.verbs.publish import publish_networks

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PretrainReport:
    """What a run came to."""

    output: str
    steps: int
    tokens: int
    """Real tokens trained on, special ones included."""
    seconds: float
    tokens_per_s: float
    peak_bytes: int
    """Most memory in use beyond what the process had before: of a new one, beyond its libraries. Not a GPU's."""
    validation: dict[str, float]
    """Held-out figures at the end; empty without a validation part."""
    warning: str | None
    """What is wrong with the run, if anything."""
    networks: tuple[str, ...]
    """Published folders within the run's; the first is the one to fine-tune."""


def pretrain(
    recipe: str | Path,
    *,
    output: str | Path,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    extend: int | None = None,
    verify: bool = True,
    overwrite: bool = False,
) -> PretrainReport:
    """Train the networks of an objective.

    Args:
        recipe: Name of a shipped recipe or path of a TOML file.
        output: The run's folder.
        overrides: Nested values that replace the recipe's; {"data": {"path": …}} at least.
        resume: Continue the run in `output` from its newest state, or start it if there is none.
        extend: Continue the finished run in `output` for so many more steps; `recipe` is then its config.toml.
        verify: Compare the digest of every shard before training; without it only sizes are compared.
        overwrite: Replace what is in `output`.

    Raises:
        ConfigError: If a setting is wrong, or differs from those of the run that is continued, or a run to extend is
            not finished.
        DataError: If the shard folder can not be used.
        CheckpointError: If all saved states are damaged.
        TrainingError: If too many losses or gradients are not numbers, or another process of the run has gone.
        RunStopped: If SIGTERM or SIGINT asked for an end; the run is saved and can be resumed.
    """
    memory_before = peak_bytes()
    if overwrite and extend is not None:
        raise ConfigError("extend goes on with what overwrite would remove; give one of them.")
    config = recipes.load_recipe(recipe, overrides)
    if config.data.path is None:
        raise ConfigError("data.path is not set. Give --data.path SHARDS, a folder made by `electrify prepare`.")
    path, folder = config.data.path, Path(output)
    with join_world(timeout_minutes=config.training.timeout_minutes) as world, ExitStack() as stack:
        is_restart = world.num_restarts > 0  # by torchrun, after a process died
        resume = resume or extend is not None or is_restart
        device = choose_device()
        if not resume:
            inputs = (path, config.init_from)
            world.first_does(
                lambda: refuse_existing(folder, overwrite=overwrite, inputs=inputs, is_filled_in_place=True), device
            )
        lock = RunLock(folder, takes_over=is_restart)
        world.first_does(lambda: stack.enter_context(lock), device)
        world.first_does(lambda: open_shards(path, verify=verify), device)
        shards = open_shards(path)
        start = None
        if config.init_from is not None:
            explicit = recipes.explicit_settings(recipe, overrides).get("model", {})
            start = _open_start(config, shards, folder, explicit=explicit, resume=resume)
            config = start.config
        if extend is not None:
            if not is_restart:
                world.first_does(lambda: extend_run(folder, config, num_steps=extend), device)
            schedule = recipes.load_recipe(folder / "config.toml").schedule
            config = config.model_copy(update={"schedule": schedule})
        session = Session(config, shards, folder, world=world, start=start)
        training = Pretraining(session, lock, memory_before=memory_before)
        training.run(anew=not resume)
        return _publish(session, training.highest_peak())


def _open_start(
    config: PretrainConfig, shards: ShardFolder, folder: Path, *, explicit: Mapping[str, Any], resume: bool
) -> Start:
    if resume and (folder / START_FILE).is_file() and list_states(folder / "state"):
        return reopen_start(config, recipes.load_recipe(folder / "config.toml"), folder, explicit=explicit)
    return open_start(config, shards.tokenizer(), explicit=explicit)


def _publish(session: Session, peak: int) -> PretrainReport:
    """Write the published folders and the run's results.

    Args:
        session: The finished run's parts.
        peak: Most bytes that it had in use.
    """
    seconds = session.clock.seconds
    report = PretrainReport(
        output=str(session.folder),
        steps=session.clock.step,
        tokens=session.window.tokens_seen,
        seconds=seconds,
        tokens_per_s=session.window.tokens_seen / seconds if seconds else 0.0,
        peak_bytes=peak,
        validation=session.validation,
        warning=session.warning,
        networks=tuple(session.objective.networks()),
    )

    def write() -> None:
        _LOG.info("Trained %d steps in %s.", report.steps, format_seconds(seconds))
        publish_networks(objective, session.config, report, session.shards, session.folder)
        write_json(session.folder / "results.json", finite_or_none(asdict(report)))

    with session.optimizer.averaged():
        objective = session.parallel.whole_module()
        session.world.first_does(write, session.device)
    return report
