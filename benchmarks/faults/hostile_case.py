"""What a hostile case is, and what all of them plant with."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Make = Callable[[Path], None]
DEEP = "[" * 100_000 + "]" * 100_000
HUGE = int("9" * 400)


@dataclass(frozen=True)
class Case:
    """One thing planted."""

    kind: str
    name: str
    start: str
    """Good folder it begins with: "electra", "modernbert" or "run"."""
    make: Make
    """Changes the folder, given its path."""
    opens: bool = False
    """Whether the folder may be opened, as what is planted is never looked at."""


class Bomb:
    """Unpickled, it makes a file; the name of the file is the proof that code ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(proof_of(self.folder)),)


def proof_of(folder: Path) -> Path:
    """Return the place that only planted code makes."""
    return folder.with_name(folder.name + ".code-ran")


def text(name: str, content: str | bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return make
