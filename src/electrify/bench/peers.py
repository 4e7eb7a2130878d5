"""The peers of a folder: files that say, in two literals at their top, what they need and what they measure.

    PACKAGES = {"transformers": "transformers"}     what is imported: what pip installs
    CONTENDERS = {"step": ("fp32", "bf16")}         bench: variants

and hold a function `build_BENCH(work)` for each bench. The literals are read without running the file. See
`benchmarks/README.md`.
"""

import ast
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from electrify.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Contender:
    """One side of a measurement."""

    name: str
    source: str
    """Name of a module, or path of a file."""
    build: str
    """Its function."""
    variant: str
    packages: tuple[str, ...] = ()
    """What pip calls the packages that it needs."""
    python: str | None = None
    """Interpreter of its process; None means this one."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A peer that could not be measured."""

    name: str
    reason: str


def find_peers(
    folder: str | Path | None, bench: str, *, only: Collection[str] | None = None
) -> tuple[list[Contender], list[Missing]]:
    """Return the peers that can be measured, and those that can not.

    Args:
        folder: Of peers' files; None has none.
        bench: What is measured, such as "step".
        only: Names of the peers to take; None takes all.

    Raises:
        ConfigError: If the folder holds no peer for this bench, or a name is none of theirs.
    """
    if folder is None:
        return [], []
    found: list[Contender] = []
    missing: list[Missing] = []
    for path in sorted(Path(folder).glob("*.py")):
        literals = _literals(path)
        packages: dict[str, str] = literals.get("PACKAGES", {})
        absent = [pip_name for name, pip_name in packages.items() if find_spec(name) is None]
        for variant in literals.get("CONTENDERS", {}).get(bench, ()):
            name = f"{path.stem} {variant}".strip()
            if absent:
                missing.append(Missing(name, f"not installed: pip install {' '.join(absent)}"))
            else:
                found.append(Contender(name, str(path), f"build_{bench}", variant, tuple(packages.values())))
    names = [one.name for one in found] + [one.name for one in missing]
    if not names:
        raise ConfigError(f"{folder}: no file here measures '{bench}'. Give a folder like benchmarks/peers.")
    for name in only or ():
        if name not in names:
            raise ConfigError(f"--only: no peer {name!r} in {folder}.{did_you_mean(name, names)}")
    if only:
        found = [one for one in found if one.name in only]
        missing = [one for one in missing if one.name in only]
    return found, missing


def versions(contenders: Collection[Contender]) -> dict[str, str]:
    """Return the versions of the packages that the contenders use."""
    result = {}
    for name in sorted({"torch", *(package for one in contenders for package in one.packages)}):
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = "?"
    return result


def _literals(path: Path) -> dict[str, Any]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in ("PACKAGES", "CONTENDERS")
        }
    except (SyntaxError, ValueError) as problem:
        raise ConfigError(f"{path}: not a peer ({problem}). See benchmarks/README.md.") from None
