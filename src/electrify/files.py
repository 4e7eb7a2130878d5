"""Files and folders that are either complete or not there.

What is written goes to a temporary name beside the target, is flushed to the disk, and is renamed in one step, so a
reader never meets half a file and a killed process leaves the old version intact: a file under its name, a folder there
or, between two renames, beside it.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from electrify.errors import DataError, ElectrifyError

MANIFEST = "manifest.json"
_TEMPORARY_SUFFIX = ".tmp"
_ASIDE_SUFFIX = ".old.tmp"  # of a folder that is being replaced
_CHUNK_BYTES = 1 << 20
_HIGHEST_TEXT_BYTES = 64 << 20
"""No file of settings is larger; a vocabulary of a million tokens takes 40 MB in `tokenizer.json`."""


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
    """Write a small file in one step; its folder must exist.

    Bytes of a file's name that are not UTF-8 are written as JSON's escapes, from which the name is read back.
    """
    temporary = path.with_name(path.name + _TEMPORARY_SUFFIX)
    with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
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
        error: What to raise if it is missing, is no file, is over 64 MiB, is not JSON, or is not an object.
    """
    try:
        value = json.loads(read_text(path, error=error))
    except ValueError as problem:
        raise error(f"{path}: not valid JSON ({problem}). It may be cut short; make it again.") from None
    except RecursionError:
        raise error(f"{path}: nested too deeply; no such file is.") from None
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, found {type(value).__name__}.")
    return value


def read_text(path: Path, *, error: type[ElectrifyError] = DataError) -> str:
    """Read a file of settings as UTF-8, of at most 64 MiB; a device or a pipe is never opened.

    Args:
        path: The file.
        error: What to raise if it is missing, too large, no file, or not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise error(f"{path}: not a file.")
        if path.stat().st_size > _HIGHEST_TEXT_BYTES:
            raise error(f"{path}: over {_HIGHEST_TEXT_BYTES >> 20} MiB; no file of this kind is.")
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}).") from None
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not UTF-8 text (byte {problem.start}).") from None


def refuse_outside(path: Path, *, error: type[ElectrifyError]) -> None:
    """Stop if a file of a folder that came from elsewhere is a link that leads out of it.

    Links of the Hugging Face hub's cache, from a model's `snapshots/…/` to its `blobs/`, are as they should be.

    Args:
        path: The file, whether it exists or not.
        error: What to raise.
    """
    if not path.is_symlink():
        return
    folder = path.parent.resolve()
    target = Path(os.path.realpath(path))  # unlike `resolve`, it does not fail at a circle of links
    if target.is_relative_to(folder) and target.is_file():
        return
    if folder.parent.name == "snapshots" and target.is_relative_to(folder.parent.parent / "blobs"):
        return
    raise error(
        f"{path}: a link to {target}, not to a file of its folder, which is not followed. Copy the file itself there."
    )


def write_manifest(folder: Path, *, leave_out: Collection[str] = ()) -> None:
    """Write `manifest.json` into a folder: size and digest of every other file in it.

    Args:
        folder: Complete but for the manifest; folders in it are not described.
        leave_out: Names of files that may be changed later.
    """
    described = {name: value for name, value in _describe(folder).items() if name not in leave_out}
    write_json(folder / MANIFEST, sealed({"files": described}))


def check_manifest(
    folder: Path, *, error: type[ElectrifyError], required: Collection[str] = (), advice: str = ""
) -> None:
    """Compare the files of a folder with its manifest.

    Args:
        folder: The folder.
        error: What to raise.
        required: Names that the manifest must hold.
        advice: A sentence on what to do, put behind the message.

    Raises:
        ElectrifyError: As `error`, naming the first file that is missing or is not what was written.
    """
    manifest = read_json(folder / MANIFEST, error=error)
    expected = manifest.get("files")
    end = f" {advice}" if advice else ""
    if "seal" not in manifest or not is_sealed(manifest):
        raise error(f"{folder / MANIFEST}: altered, its seal does not fit.{end}")
    if not isinstance(expected, dict) or not expected or not expected.keys() >= set(required):
        raise error(f"{folder / MANIFEST}: does not name the files of the folder.{end}")
    actual = _describe(folder)
    for name, description in expected.items():
        if name not in actual:
            raise error(f"{folder / name}: is missing.{end}")
        if actual[name] != description:
            raise error(f"{folder / name}: is not what was written (size or digest differs).{end}")


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with a digest of them under "seal"."""
    return {**values, "seal": digest_text(json.dumps(values, sort_keys=True))}


def is_sealed(values: dict[str, Any]) -> bool:
    """Return whether values still are what was sealed; true of those that never were."""
    rest = {key: value for key, value in values.items() if key != "seal"}
    return "seal" not in values or values == sealed(rest)


def _describe(folder: Path) -> dict[str, dict[str, int | str]]:
    return {
        path.name: {"bytes": path.stat().st_size, "xxh3_128": digest_file(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST
    }


def sync_folder(folder: Path) -> None:
    """Flush every file below a folder, and the folder itself, to the disk."""
    for path in [*sorted(folder.rglob("*")), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def refuse_existing(
    folder: Path, *, overwrite: bool, inputs: Iterable[str | Path | None] = (), is_filled_in_place: bool = False
) -> None:
    """Stop before work whose result would replace something, or could not be put where it is wanted.

    What a killed replacement moved aside is put back first; see `new_folder`.

    Args:
        folder: The folder to make.
        overwrite: Whether what is there may be replaced.
        inputs: What the work reads, which must not go with the folder.
        is_filled_in_place: Whether the work writes into the folder instead of replacing it whole.

    Raises:
        DataError: If `folder` exists, is not an empty folder, and `overwrite` is not given; if it is a file; or if it
            can not be replaced, as a folder that an input lies in or that this process runs in.
    """
    _put_back(Path(os.path.realpath(folder)))
    if not folder.exists():
        _require_writable(folder)
        return
    if not overwrite and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: exists already. Choose another --output, or pass --overwrite to replace it.")
    if not folder.is_dir():
        raise DataError(f"{folder}: a file, where a folder is to be made. Choose another --output.")
    for one in inputs:
        if one is not None and Path(os.path.realpath(one)).is_relative_to(os.path.realpath(folder)):
            raise DataError(f"{folder}: not replaced, as {one}, which is read, lies in it. Choose another --output.")
    if is_filled_in_place:
        return
    if Path.cwd().is_relative_to(folder.resolve()):
        raise DataError(f"{folder}: the working directory lies in it, so it is not replaced. Choose another --output.")
    if folder.is_mount():
        raise DataError(f"{folder}: a mount point, which cannot be replaced. Choose a folder in it as --output.")


def _require_writable(target: Path) -> None:
    """Refuse what cannot be made where it is wanted."""
    above = next(folder for folder in Path(os.path.realpath(target)).parents if folder.exists())
    if not above.is_dir():
        raise DataError(f"{target}: {above} is a file, not a folder. Choose another --output.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise DataError(f"{target}: nothing may be written in {above}. Choose another --output.")


def refuse_existing_file(path: Path, *, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Stop before work whose result, one file, would replace something.

    Raises:
        DataError: If `path` is a folder, exists and `overwrite` is not given, or is one of the inputs.
    """
    if any(os.path.realpath(one) == os.path.realpath(path) for one in inputs):
        raise DataError(f"{path}: it is read, so it is not replaced. Choose another --output.")
    if path.is_dir():
        raise DataError(f"{path}: a folder, where a file is to be made. Choose another --output.")
    if path.exists() and not overwrite:
        raise DataError(f"{path}: exists already. Choose another --output, or pass --overwrite to replace it.")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the target's name when the block ends without an error.

    An existing target is replaced only then: it is moved aside, the new folder takes its name, and it is removed. A
    process killed between these leaves the old one beside its name, and the next call for the target, or
    `refuse_existing`, puts it back. What an earlier, killed attempt left behind is removed.

    Args:
        target: The folder to make; its parents are made as needed. A link stays, and what it leads to is replaced.
    """
    target = Path(os.path.realpath(target))
    _put_back(target)
    temporary = target.with_name(target.name + _TEMPORARY_SUFFIX)
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        sync_folder(temporary)
        if target.exists():
            target.rename(_aside(target))
        temporary.rename(target)
    except BaseException:
        _put_back(target)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(_aside(target), ignore_errors=True)


def _aside(target: Path) -> Path:
    return target.with_name(target.name + _ASIDE_SUFFIX)


def _put_back(target: Path) -> None:
    """Undo a replacement that did not come to its end, or finish it if only the old folder is still to be removed."""
    if not target.name or not _aside(target).exists():
        return
    if target.exists():
        shutil.rmtree(_aside(target))
    else:
        _aside(target).rename(target)
