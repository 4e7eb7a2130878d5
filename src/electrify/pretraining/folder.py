"""The beginning of a run's folder: its config and its environment."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from electrify import recipes
from electrify.config import PretrainConfig
from electrify.data.shards import ShardFolder
from electrify.errors import ConfigError
from electrify.files import digest_text, write_json, write_text
from electrify.runs import describe_environment
from electrify.training import lock
from electrify.training.distributed import World

_FREE = {
    "training.micro_batch_size",
    "training.parallel",
    "training.timeout_minutes",
    "checkpoint.keep_last",
    "checkpoint.on_save_error",
}
"""Settings that a run may be continued with other values of: how it is dealt out, not what comes out."""
_COMPARES_ROWS = {"contrastive"}
"""Kinds of objective whose loss compares the rows of a micro-batch, so that its size is part of what comes out."""
_EXTENDED = {"schedule.num_steps", "schedule.start_step", "schedule.warmup_share", "schedule.budget_minutes"}
"""What `--extend` changes: the longer run goes on from states of the shorter one."""


def open_run(
    folder: Path,
    config: PretrainConfig,
    shards: ShardFolder,
    *,
    device: torch.device,
    dtype: torch.dtype,
    world: World,
    parallel: str,
) -> None:
    """Make the folder and write what was asked for and where it runs."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **describe_environment(),
        "device": str(device),
        "precision": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "processes": world.size,
        "parallel": parallel,
        "data": {"path": str(config.data.path), "digest": shards.digest},
    }
    write_text(folder / "config.toml", recipes.render(config))
    write_json(folder / "environment.json", environment)


def run_digest(config: PretrainConfig) -> str:
    """Return what tells the states of one run from those of another: a digest of all that changes its result."""
    values = _flat(config).items()
    return digest_text(json.dumps([item for item in values if item[0] not in _free(config) | _EXTENDED]))


def empty_folder(folder: Path) -> None:
    """Remove what an earlier run left, but for the lock that this one holds."""
    for path in folder.iterdir():
        if path.name == lock.NAME:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def refuse_other_data(folder: Path, shards: ShardFolder, digest: str) -> None:
    """Stop if a saved state is of a run on other data.

    Args:
        folder: The run's folder.
        shards: What the run would continue on.
        digest: Of the data that the state was made on.
    """
    if digest != shards.digest:
        raise ConfigError(
            f"{shards.path}: not the data that the run in {folder} was started on (digest "
            f"{shards.digest[:12]}, then {digest[:12]}). Give the same --data.path."
        )


def refuse_other_config(folder: Path, config: PretrainConfig) -> None:
    """Stop if a run with other settings was begun in the folder.

    Raises:
        ConfigError: Naming the first setting that differs and changes the result.
    """
    path = folder / "config.toml"
    if not path.exists():
        return
    then_flat, now_flat = _flat(recipes.load_recipe(path)), _flat(config)
    for key, value in then_flat.items():
        if key not in _free(config) and value != now_flat[key]:
            raise ConfigError(
                f"{folder}: the run was started with {key} = {value!r}, now it is {now_flat[key]!r}. Resume with "
                "the settings in its config.toml, or choose another --output."
            )


def _free(config: PretrainConfig) -> set[str]:
    return _FREE - {"training.micro_batch_size"} if config.objective.kind in _COMPARES_ROWS else _FREE


def _flat(config: PretrainConfig) -> dict[str, Any]:
    """Return every setting by its dotted name, but for the place of the data."""
    return {
        f"{section}.{key}".removesuffix("."): value
        for section, values in config.model_dump(exclude={"data": {"path"}}).items()
        for key, value in (values if isinstance(values, dict) else {"": values}).items()
    }
