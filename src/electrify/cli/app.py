"""What all commands share: the application, common options, and how results are printed."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, Parameter
from pydantic import BaseModel

from electrify import __version__
from electrify.config import PretrainConfig
from electrify.data.sources import SourceOptions
from electrify.errors import ConfigError

app = App(
    name="electrify",
    version=__version__,
    help="Train text encoders by replaced token detection: from raw text to a published, fine-tuned model.",
    suppress_keyboard_interrupt=False,  # `main` says what happened
)

_LONGEST_MESSAGE = 1500

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print the result as JSON, and nothing else.")]
Source = Annotated[SourceOptions, Parameter(name="*")]
RecipeSettings = Annotated[PretrainConfig | None, Parameter(name="*", show_default=False)]  # each recipe has its own
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what is in the output folder.")]


def process_rank() -> int:
    """Return the number of this process among those that `torchrun` started; 0 without it. The first one talks."""
    return int(os.environ.get("RANK", "0"))


def fail(message: str) -> NoReturn:
    """Say in one line what is wrong and exit with code 2.

    What a message quotes may come from any file, so it is cut to a readable length, and nothing in it can write a
    second line or steer the terminal.
    """
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in message)
    cut = line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]} …"
    where = f"process {process_rank()}: " if process_rank() else ""
    print(f"electrify: {where}{cut}", file=sys.stderr)
    sys.exit(2)


def show(result: Any, *, as_json: bool, lines: Sequence[str] = ()) -> None:
    """Print a result: as JSON if asked for, else these lines; only the first of several processes does."""
    if process_rank():
        return
    if as_json:
        from electrify.runs import finite_or_none

        parts = result if isinstance(result, list) else [result]
        data = [asdict(one) if is_dataclass(one) and not isinstance(one, type) else one for one in parts]
        plain = finite_or_none({"result": data if isinstance(result, list) else data[0]})["result"]
        lines = [json.dumps(plain, ensure_ascii=False, indent=2, default=str)]
    for line in lines:
        print(line.encode(errors="backslashreplace").decode())  # names of files need not be UTF-8


def check_report(path: Path | None) -> None:
    """Refuse a page that could not be written, before the work it is about.

    Raises:
        ConfigError: If it is a folder, or would lie in none.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigError(f"--report {path}: is to be a file in a folder that is there.")


def table(title: str, rows: dict[str, Any]) -> list[str]:
    """Return the lines of a table of names and values under a title."""
    width = max(len(key) for key in rows)
    return [title, *(f"  {key:<{width}}  {_format(value)}" for key, value in rows.items())]


def _format(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def overrides(config: BaseModel | None) -> dict[str, Any]:
    """Return the settings that were given on the command line, nested as in a recipe."""
    return config.model_dump(exclude_unset=True) if config is not None else {}
