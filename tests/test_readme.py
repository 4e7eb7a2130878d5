"""What the README names exists: files, commands, options."""

import re
from pathlib import Path

import pytest

from electrify import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = README.split("## Where things are")[1]


def test_the_tree_names_every_module_and_no_other() -> None:
    named = set(re.findall(r"(\w+\.py) ", TREE)) - {"demo.py"}
    modules = {path.name for path in (ROOT / "src/electrify").rglob("*.py") if path.name != "__init__.py"}
    assert named - {"__init__.py"} == modules


def test_every_command_and_option_it_shows_exists(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    commands = [line.split("#")[0] for line in lines if line.startswith("electrify ")]
    assert len(commands) >= 7
    for command in commands:
        verb = command.split()[1]
        with pytest.raises(SystemExit):
            cli.main([verb, "--help"])
        shown = capsys.readouterr().out
        for option in re.findall(r"--[a-z.-]+", command):
            assert option.split(".")[0] in shown, f"{verb} {option}"


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()
