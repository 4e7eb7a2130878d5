"""Imports go down: cli → report, bench → verbs → tasks, pretraining → models, objectives, data, training → the base.

`objectives` may use `models`; nothing else goes sideways. And what is heavy is loaded by the command that needs it.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import electrify

ROOT = Path(electrify.__file__).parent
BASE = {"config", "errors", "files", "progress", "noise", "runs", "recipes", "memory"}
BELOW: dict[str, set[str]] = {part: set() for part in BASE}
BELOW |= {"recipes": {"config", "errors"}, "files": {"errors"}, "kernels": {"errors"}}
BELOW |= {"models": BASE | {"kernels"}, "data": BASE, "training": BASE, "objectives": BASE | {"models", "kernels"}}
BELOW["tasks"] = BASE | {"kernels"} | {"models", "data", "training", "objectives"}
BELOW["pretraining"] = BELOW["tasks"]
BELOW["verbs"] = BELOW["tasks"] | {"tasks", "pretraining"}
BELOW["report"] = BELOW["verbs"] | {"verbs"}
BELOW["bench"] = BELOW["verbs"] | {"verbs"}
BELOW["cli"] = BELOW["report"] | {"report", "bench"}
BELOW["__main__"] = {"cli"}
BELOW["__init__"] = set()  # looks its verbs up by name, when they are asked for


def imported(source: str, *, package: str) -> set[str]:
    """The parts of this package that a module imports, wherever the import stands.

    Args:
        source: Python.
        package: The module's own package, for imports that begin with a dot.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    parts = {name.split(".")[1] for name in found if name.startswith("electrify.")}
    return parts & BELOW.keys()  # `from electrify import __version__` is of no part


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


MODULES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down(path: Path) -> None:
    part = part_of(path)
    package = ".".join(["electrify", *path.relative_to(ROOT).parts[:-1]])
    upwards = imported(path.read_text(encoding="utf-8"), package=package) - BELOW[part] - {part}
    assert not upwards, f"{part} must not import {', '.join(sorted(upwards))}"


def test_the_reader_of_imports_sees_every_form() -> None:
    source = """
import electrify.cli
from electrify import verbs
from electrify.tasks import classification
def late():
    from ..models.electra import ElectraModel
    from .. import data
"""
    assert imported(source, package="electrify.objectives") == {"cli", "verbs", "tasks", "models", "data"}


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stderr.split())


HEAVY = {"torch", "transformers", "numpy", "pyarrow", "sklearn", "scipy", "grain", "tokenizers", "safetensors"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = modules_after("import electrify")
    assert not loaded & (HEAVY | {"pydantic", "cyclopts"})


@pytest.mark.parametrize("arguments", [["--help"], ["pretrain", "--help"], ["config", "tiny"]])
def test_help_and_configs_load_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
from electrify.cli import main
try:
    main({arguments})
except SystemExit as end:
    assert not end.code
"""
    assert not modules_after(code) & HEAVY


def test_the_package_never_loads_transformers() -> None:
    for path in MODULES:
        names = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert "transformers" not in names, path


def test_every_verb_can_be_called_from_the_package() -> None:
    for name in electrify.__all__:
        assert getattr(electrify, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'pretain'"):
        _ = electrify.pretain
