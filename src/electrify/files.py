"""Files and folders that are either complete or not there.

What is written goes to a temporary name beside the target, is flushed to the disk, and is renamed in one step, so a
reader never meets half a file and a killed process leaves the old version intact.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from electrify.errors import DataError, ElectrifyError

_TEMPORARY_SUFFIX = ".tmp"
_CHUNK_BYTES = 1 << 20


def digest_file(path: Path) -> str:
    """Return the xxh3-128 digest of a file as 32 hexadecimal digits; reads in chunks of 1 MiB."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def digest_text(text: str) -> str:
    """Return the xxh3-128 digest of a text's UTF-8 bytes as 32 hexadecimal digits."""
    return xxhash.xxh3_128(text.encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a small file in one step; its folder must exist."""
    temporary = path.with_name(path.name + _TEMPORARY_SUFFIX)
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON in one step; NaN and infinity are refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, error: type[ElectrifyError] = DataError) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        error: What to raise if it is missing, is not JSON, or is not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}).") from None
    except ValueError as problem:
        raise error(f"{path}: not valid JSON ({problem}). It may be cut short; make it again.") from None
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, found {type(value).__name__}.")
    return value


def sync_folder(folder: Path) -> None:
    """Flush every file below a folder, and the folder itself, to the disk."""
    for path in [*sorted(folder.rglob("*")), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """Stop before work whose result would replace something.

    Raises:
        DataError: If `folder` exists, is not an empty folder, and `overwrite` is not given.
    """
    if overwrite or not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    raise DataError(f"{folder}: exists already. Choose another --output, or pass --overwrite to replace it.")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the target's name when the block ends without an error.

    An existing target is replaced only then. What an earlier, killed attempt left behind is removed.

    Args:
        target: The folder to make; its parents are made as needed.
    """
    temporary = target.with_name(target.name + _TEMPORARY_SUFFIX)
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        sync_folder(temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
