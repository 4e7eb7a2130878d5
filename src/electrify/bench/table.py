"""Results as lines of text."""

from collections.abc import Sequence
from typing import Any

from electrify.bench.peers import Missing
from electrify.bench.rounds import Measured, Spread


def head_lines(title: str, settings: dict[str, Any], versions: dict[str, str], *, threads: int) -> list[str]:
    """Return what was measured, and with what."""
    return [
        f"{title}: " + ", ".join(f"{key} {value}" for key, value in settings.items()),
        f"{threads} thread{'s' * (threads != 1)}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
    ]


def side_lines(measured: Sequence[Measured], missing: Sequence[Missing], *, unit: str, scale: float = 1.0) -> list[str]:
    """Return a table: median with minimum and maximum, memory, and electrify's ratio to each side.

    Args:
        measured: Those that were, electrify first.
        missing: Those that were not.
        unit: Of the rates.
        scale: What the rates are multiplied with to be in that unit.
    """
    names = [one.name for one in measured] + [one.name for one in missing]
    width = max(len("side"), *map(len, names))
    lines = [f"{'side':<{width}}  {unit:>26}  {'peak MB':>8}  electrify / side"]
    for one in measured:
        ratio = "" if one.ratio is None else spread_text(one.ratio)
        rate, memory = spread_text(one.rate, scale), f"{one.peak_bytes / 1e6:,.0f}"
        lines.append(f"{one.name:<{width}}  {rate:>26}  {memory:>8}  {ratio}".rstrip())
    return lines + [f"{one.name:<{width}}  {one.reason}" for one in missing]


def spread_text(values: Spread, scale: float = 1.0) -> str:
    """Return "median (lowest to highest)" to three figures or whole numbers."""
    digits = ",.0f" if values.median * scale >= 100 else ",.3g"
    low, high = format(values.minimum * scale, digits), format(values.maximum * scale, digits)
    return f"{format(values.median * scale, digits)} ({low} to {high})"
