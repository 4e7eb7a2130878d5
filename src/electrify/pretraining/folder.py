"""The beginning of a run's folder: its config and its environment."""

from pathlib import Path
from typing import Any

import torch

from electrify import recipes
from electrify.config import PretrainConfig
from electrify.data.shards import ShardFolder
from electrify.errors import ConfigError
from electrify.files import write_json, write_text
from electrify.runs import describe_environment


def open_run(
    folder: Path, config: PretrainConfig, shards: ShardFolder, *, device: torch.device, dtype: torch.dtype
) -> None:
    """Make the folder and write what was asked for and where it runs.

    Raises:
        ConfigError: If a run with other settings was begun there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.toml"
    if path.exists():
        refuse_other_config(folder, recipes.load_recipe(path), config)
    environment = {
        **describe_environment(),
        "device": str(device),
        "precision": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "data": {"path": str(config.data.path), "digest": shards.digest},
    }
    write_text(path, recipes.render(config))
    write_json(folder / "environment.json", environment)


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


def refuse_other_config(folder: Path, before: PretrainConfig, now: PretrainConfig) -> None:
    """Raise ConfigError if a run was begun with other settings than these, naming the first."""
    then_flat, now_flat = _flat(before), _flat(now)
    for key, value in then_flat.items():
        if value != now_flat[key]:
            raise ConfigError(
                f"{folder}: the run was started with {key} = {value!r}, now it is {now_flat[key]!r}. Resume with "
                "the settings in its config.toml, or choose another --output."
            )


def _flat(config: PretrainConfig) -> dict[str, Any]:
    """Return every setting by its dotted name, but for the place of the data."""
    return {
        f"{section}.{key}".removesuffix("."): value
        for section, values in config.model_dump(exclude={"data": {"path"}}).items()
        for key, value in (values if isinstance(values, dict) else {"": values}).items()
    }
