"""From what a user calls a model to a folder on this machine."""

import re
from pathlib import Path

from electrify.errors import CheckpointError
from electrify.files import MANIFEST, check_manifest

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.json", "*.txt", "*.safetensors"]
_ADVICE = f"Make the folder again; if it was changed on purpose, remove its {MANIFEST}."


_ROLES = ("discriminator", "encoder", "decoder", "scorer", "generator")
"""What a run publishes, first what is asked for most."""


def resolve_folder(name_or_path: str | Path, *, may_be_run: bool = False) -> Path:
    """Return the local folder of a model, fetching it from the Hugging Face hub if need be.

    Args:
        name_or_path: A folder, or a hub id `owner/name`; a folder of that name comes first. Only JSON, text and
            safetensors files are fetched.
        may_be_run: Whether a folder of several models will do.

    Raises:
        CheckpointError: If it is neither, cannot be fetched, has a manifest that its files do not agree with, or is
            plainly a folder of something else.
    """
    name = str(name_or_path)
    folder = Path(name)
    if name and folder.is_dir():
        if not (folder / "config.json").is_file():
            _refuse_other_kinds(folder, may_be_run=may_be_run)
        if (folder / MANIFEST).is_file():
            check_manifest(folder, error=CheckpointError, advice=_ADVICE)
        return folder
    if not _HUB_ID.fullmatch(name):
        raise CheckpointError(f"'{name}': no such folder. Give a model folder, or a hub id like owner/name.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except (OSError, ValueError) as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise CheckpointError(f"{name}: no such folder, and not to be had from the hub: {reason}") from None


def _refuse_other_kinds(folder: Path, *, may_be_run: bool) -> None:
    """Say what a folder without config.json is, if that can be told."""
    if (folder / "train").is_dir() and (folder / MANIFEST).is_file():
        raise CheckpointError(
            f"{folder}: shards to train on, not a model. Give a published folder, as RUN/discriminator."
        )
    inside = [path.parent.name for path in folder.glob("*/config.json")]
    if inside and not may_be_run:
        first = next((role for role in _ROLES if role in inside), min(inside))
        raise CheckpointError(
            f"{folder}: not a model, but what holds {', '.join(sorted(inside))}. Give {folder / first}."
        )
