"""Recipes: complete configs as TOML, found by name or path, read with overrides, printed with comments.

A shipped recipe is the text that `render` gives for it, so no key is hidden and no default applies unseen.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from electrify.config import PretrainConfig
from electrify.errors import ConfigError, did_you_mean

_FOLDER = Path(__file__).parent
_NO_LIMIT = 10_000_000  # steps of a run that minutes end


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_recipe(recipe: str | Path, overrides: Mapping[str, Any] | None = None) -> PretrainConfig:
    """Read a recipe and put overrides on it; minutes among them (`schedule.budget_minutes`) replace its steps.

    Args:
        recipe: A shipped name ("tiny") or the path of a TOML file.
        overrides: Nested values that replace the recipe's, as {"optimizer": {"learning_rate": 3e-4}}.

    Raises:
        ConfigError: If there is no such recipe, the file is not TOML, or a key or value is not valid.
    """
    path = _find(recipe)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as problem:  # not TOML, not UTF-8, or a number of thousands of digits
        raise ConfigError(f"{path}: not valid TOML ({problem}).") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply; no recipe is.") from None
    return parse_config(_lengthened(merged(values, overrides or {}), overrides or {}), source=str(recipe))


def _lengthened(values: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the number of steps where a budget of minutes is given without one: a recipe's would end the run early."""
    asked = overrides.get("schedule")
    schedule = (
        asked if isinstance(asked, Mapping) and asked.get("budget_minutes") is not None else values.get("schedule")
    )
    if not isinstance(schedule, Mapping) or schedule.get("budget_minutes") is None or "num_steps" in schedule:
        return values
    return merged(values, {"schedule": {"num_steps": _NO_LIMIT}})


def explicit_settings(recipe: str | Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a user asked for: the overrides, and what stands in an own recipe; not what a shipped one says."""
    path = _find(recipe)
    own = {} if path.parent == _FOLDER else tomllib.loads(path.read_text(encoding="utf-8-sig"))
    return merged(own, overrides or {})


def parse_config(values: Mapping[str, Any], *, source: str) -> PretrainConfig:
    """Check values and return the config.

    Args:
        values: Sections and keys as read from TOML.
        source: Where they come from, for the message.

    Raises:
        ConfigError: Naming the first key that is unknown or has a bad value.
    """
    try:
        return PretrainConfig.model_validate(values)
    except ValidationError as problem:
        raise ConfigError(f"{source}: {explain(problem, PretrainConfig)}") from None


def explain(problem: ValidationError, model: type[BaseModel]) -> str:
    """Say in one line what is wrong with the first bad value of a config."""
    first = problem.errors()[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown setting '{name}'.{did_you_mean(path[-1], _keys_at(model, path[:-1]))}"
    message = str(first["msg"])
    return f"{name}: {message[0].lower()}{message[1:]}, got {first['input']!r}."


def render(config: PretrainConfig) -> str:
    """Return a config as complete TOML, each key below its meaning; a key without a value stands in a comment."""
    lines: list[str] = []
    sections: list[str] = []
    for name, field in PretrainConfig.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            sections += ["", f"# {(type(value).__doc__ or '').strip()}", f"[{name}]", *_render_fields(value)]
        else:
            lines += [f"# {field.description}", _render_value(name, value)]
    return "\n".join(lines + sections) + "\n"


def _find(recipe: str | Path) -> Path:
    shipped = _FOLDER / f"{recipe}.toml"
    if shipped.is_file():
        return shipped
    path = Path(recipe)
    if path.is_file():
        return path
    known = did_you_mean(str(recipe), recipe_names())
    raise ConfigError(f"no recipe '{recipe}', neither a shipped one nor a file.{known}")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with others put on them; neither is changed."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        if part.isdigit():  # the place in a list, whose items were found by its name
            continue
        annotation = model.model_fields[part].annotation
        inside = next(iter(get_args(annotation)), annotation)
        assert isinstance(inside, type)
        model = inside
    return list(model.model_fields)


def _render_fields(section: BaseModel) -> list[str]:
    lines = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        lines.append(f"# {field.description}")
        lines.append(_render_value(name, value))
    return lines


def _render_value(name: str, value: object) -> str:
    return f"# {name} =" if value is None else f"{name} = {_toml_value(value)}"


def _toml_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON allows and TOML does not
