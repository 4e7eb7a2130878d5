"""Counts of two groups in bins, as bars in an SVG."""

from collections.abc import Callable, Mapping
from typing import Any

from electrify.report.drawing import Picture, draw

_COLOURS = ("#2456c7", "#d63031")


def draw_bars(
    groups: Mapping[str, Mapping[int, int]],
    name_of: Callable[[int], str],
    *,
    title: str,
    label: str,
    caption: str,
) -> Picture:
    """Draw stacked bars, from the lowest to the highest bin that holds anything.

    Args:
        groups: For each group, how many are in which bin.
        name_of: What stands below a bin.
        title: Above the picture.
        label: At the horizontal axis.
        caption: Below the picture.

    Raises:
        ElectrifyError: If matplotlib is not installed.
    """
    filled = [at for counts in groups.values() for at in counts]
    bins = list(range(min(filled), max(filled) + 1)) if filled else []

    def paint(axes: Any) -> None:
        below = [0] * len(bins)
        for (group, counts), colour in zip(groups.items(), _COLOURS, strict=True):
            heights = [counts.get(at, 0) for at in bins]
            axes.bar(range(len(bins)), heights, bottom=below, color=colour, label=group)
            below = [low + high for low, high in zip(below, heights, strict=True)]
        axes.set_xticks(range(len(bins)), [name_of(at) for at in bins], fontsize=8)
        axes.set_xlabel(label)
        axes.set_ylabel("documents")
        axes.legend(frameon=False)

    return Picture(title, caption, draw(paint))
