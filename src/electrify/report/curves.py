"""Curves over the steps of a run, and of several runs over what they cost, as SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

from electrify.report.drawing import Picture, draw

_COLOURS = {"train": "#9fb6e8", "validation": "#2456c7"}
_NAMES = {"train": "training", "validation": "held out"}


def draw_curves(
    records: Sequence[dict[str, Any]], keys: Sequence[str], *, title: str, label: str, caption: str
) -> Picture:
    """Draw figures of training and held-out records over the steps.

    Args:
        records: Lines of metrics.jsonl.
        keys: Which figures; records without one are passed over.
        title: Above the picture.
        label: At the vertical axis.
        caption: Below the picture.

    Raises:
        ElectrifyError: If matplotlib is not installed.
    """

    def paint(axes: Any) -> None:
        for kind in ("train", "validation"):
            for key in keys:
                mine = [one for one in records if one["kind"] == kind and one.get(key) is not None]
                points = [(one["step"], one[key]) for one in mine]
                if points:
                    name = _NAMES[kind] if len(keys) == 1 else f"{key}, {_NAMES[kind]}"
                    marker = "o" if kind == "validation" else None
                    axes.plot(*zip(*points, strict=True), color=_COLOURS[kind], label=name, marker=marker, markersize=4)
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel(label)
        axes.grid(visible=True, color="#e8ebf1")
        if axes.lines:
            axes.legend(frameon=False)

    return Picture(title, caption, draw(paint))


def draw_lines(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    caption: str,
    is_scatter: bool = False,
) -> Picture:
    """Draw several lines, or only their dots.

    Args:
        lines: (x, y) by name.
        title: Above the picture.
        x_label: At the horizontal axis.
        y_label: At the vertical axis.
        caption: Below the picture.
        is_scatter: Whether dots are not joined.

    Raises:
        ElectrifyError: If matplotlib is not installed.
    """

    def paint(axes: Any) -> None:
        for name, points in lines.items():
            style = "none" if is_scatter else "-"
            axes.plot(*zip(*points, strict=True), linestyle=style, marker="o", markersize=4, label=name)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(visible=True, color="#e8ebf1")
        axes.legend(frameon=False, fontsize=8)

    return Picture(title, caption, draw(paint, height=3.8))
