"""Files as lines, plain or compressed, in bounded memory: what `records` and `sources` read from.

Lines are read with a cap, so neither an endless line nor a small file that unpacks to gigabytes is ever held whole; one
that unpacks to over 200 times its size is given up.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from electrify.data.rejects import DAMAGED_FILE, TOO_LONG, Rejects
from electrify.errors import DataError

logger = logging.getLogger(__name__)

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}

_BUFFER_BYTES = 1 << 12  # a damaged compressed file loses at most this much of what came before the damage
_MAX_UNPACKED_RATIO = 200  # text unpacks to ten times its size, lists to fifty; gzip's most is a thousand
_MIN_RATIO_BYTES = 1 << 20  # of the file: up to 200 MB come out of anything
_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Source:
    """A file that is being read."""

    path: Path
    format: str  # the ending without compression, as ".jsonl"
    file: IO[bytes]  # what the file holds, decompressed
    raw: Any  # the file as it lies on the disk
    position_bytes: int = 0  # how much of the file on the disk has been read


def file_format(path: Path) -> str:
    """Return a file's ending without that of its compression, in small letters, as ".jsonl"."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a plain or compressed file for reading.

    A compressed parquet file is unpacked into a temporary file first, because parquet is read from its end.

    Raises:
        DataError: If the file is missing or may not be read.
    """
    import pyarrow as pa

    with ExitStack() as stack:
        try:
            raw = stack.enter_context(pa.OSFile(os.fsencode(path)))
        except OSError as problem:
            reason = problem.strerror or str(problem).split(". Detail")[0]
            raise DataError(f"{path}: cannot be read ({reason}).") from None
        compression = COMPRESSIONS.get(path.suffix.lower())
        unpacked = stack.enter_context(pa.CompressedInputStream(raw, compression)) if compression else raw
        file = cast(IO[bytes], BufferedReader(unpacked, _BUFFER_BYTES if compression else 1 << 16))
        yield Source(path, file_format(path), file, raw)


def damaged(source: Source, problem: Exception, rejects: Rejects) -> None:
    """Count a file that breaks off: its readable part is kept, how much is lost nobody knows, so it is also logged."""
    detail = str(problem).split(". Detail")[0]
    logger.warning("%s: damaged or cut short (%s); what follows in this file is lost.", source.path, detail)
    rejects.add(DAMAGED_FILE, str(source.path), detail)


def read_lines(source: Source, rejects: Rejects, *, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers from 1, with their line ends, without a byte order mark.

    Args:
        source: The open file; its position is kept up to date.
        rejects: Where lines over `max_bytes`, and the break in a damaged file, are counted.
        max_bytes: Longest line that is read; a longer one is skipped without holding it.
    """
    for number, line in read_all_lines(source, rejects, max_bytes=max_bytes):
        if line is None:
            rejects.add(TOO_LONG, f"{source.path}:{number}")
        else:
            yield number, line


def read_all_lines(
    source: Source, rejects: Rejects, *, max_bytes: int, see_part: Callable[[bytes], None] | None = None
) -> Iterator[tuple[int, bytes | None]]:
    """Yield what `read_lines` does, and None for a line over `max_bytes`, which is not counted.

    Args:
        source: The open file.
        rejects: Where the break in a damaged file is counted.
        max_bytes: Longest line that is read.
        see_part: Given each part of a line that is skipped.
    """
    number = num_bytes = 0
    while True:
        try:
            line = source.file.readline(max_bytes + 1)
            is_too_long = len(line) > max_bytes and not line.endswith(b"\n")
            rest = line
            num_bytes += len(line)
            while is_too_long and rest:
                if see_part is not None:
                    see_part(rest)
                if rest.endswith(b"\n"):
                    break
                rest = source.file.readline(1 << 16)
                num_bytes += len(rest)
                require_plausible(num_bytes, source.raw.tell())
        except (OSError, BombError) as problem:
            return damaged(source, problem, rejects)
        if not line:
            return None
        number += 1
        source.position_bytes = source.raw.tell()
        if is_too_long:
            yield number, None
        else:
            yield number, line.removeprefix(_BOM) if number == 1 else line


class BombError(ValueError):
    """A file unpacks to so much that nobody can have meant it."""


def require_plausible(unpacked_bytes: int, packed_bytes: int) -> None:
    """Raise `BombError` if so much comes out of so little."""
    if unpacked_bytes > _MAX_UNPACKED_RATIO * max(packed_bytes, _MIN_RATIO_BYTES):
        raise BombError(f"unpacks to more than {_MAX_UNPACKED_RATIO} times its size")


def is_utf8(line: bytes) -> bool:
    """Tell whether bytes are valid UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
