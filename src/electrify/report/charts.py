"""Pictures of fine-tuning: scores of seeds, learning curves, confusion, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

from electrify.report.drawing import Picture, draw
from electrify.tasks.calibration import Calibration

_BLUE, _PALE, _RED = "#2456c7", "#9fb6e8", "#d63031"
_MOST_CLASSES = 40


def draw_intervals(rows: Mapping[str, tuple[float, float, float]], *, title: str, caption: str) -> Picture:
    """Draw values with where they lie, one below the other.

    Args:
        rows: (value, low, high) by name.
        title: Above the picture.
        caption: Below it.

    Raises:
        ElectrifyError: If matplotlib is not installed, as of all pictures here.
    """

    def paint(axes: Any) -> None:
        names = list(rows)[::-1]
        for place, name in enumerate(names):
            value, low, high = rows[name]
            axes.plot([low, high], [place, place], color=_PALE, linewidth=6, solid_capstyle="round")
            axes.plot([value], [place], "o", color=_BLUE)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.7, len(names) - 0.3)
        axes.grid(visible=True, axis="x", color="#e8ebf1")

    return Picture(title, caption, draw(paint, width=9, height=0.8 + 0.42 * len(rows)))


def draw_seeds(history: Mapping[int, Sequence[Mapping[str, float]]], metric: str) -> Picture:
    """Draw the metric of each seed over the epochs."""

    def paint(axes: Any) -> None:
        for seed, epochs in history.items():
            points = [(one["epoch"], one[metric]) for one in epochs if metric in one]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=f"seed {seed}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        axes.grid(visible=True, color="#e8ebf1")
        axes.legend(frameon=False)

    return Picture("Seeds", f"Validation {metric} after each epoch.", draw(paint, width=9, height=3.2))


def draw_confusion(confusion: Mapping[str, Mapping[str, int]]) -> Picture | None:
    """Draw right against predicted labels, shaded by share of the right label; None for more than 40 labels."""
    names = list(confusion)
    if not 1 < len(names) <= _MOST_CLASSES:
        return None

    def paint(axes: Any) -> None:
        shares = [
            [confusion[right][guess] / max(1, sum(confusion[right].values())) for guess in names] for right in names
        ]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 6 else 0)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("right")
        if len(names) <= 15:
            for row, right in enumerate(names):
                for column, guess in enumerate(names):
                    colour = "white" if shares[row][column] > 0.5 else "#1d2430"
                    axes.text(column, row, confusion[right][guess], ha="center", va="center", color=colour)

    size = min(9.0, 2.5 + 0.45 * len(names))
    return Picture("Confusion", "Counts; the shade is the share of the right label.", draw(paint, width=9, height=size))


def draw_calibration(calibration: Calibration) -> Picture:
    """Draw accuracy against confidence."""

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color="#c7ccd6", linestyle="--")
        sizes = [20 + 180 * one.count / max(other.count for other in calibration.bins) for one in calibration.bins]
        axes.scatter(
            [one.confidence for one in calibration.bins],
            [one.accuracy for one in calibration.bins],
            s=sizes,
            color=_BLUE,
        )
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.05)
        axes.grid(visible=True, color="#e8ebf1")

    caption = f"Expected calibration error {calibration.error:.3f}; larger dots stand for more answers."
    return Picture("Calibration", caption, draw(paint, width=9, height=3.6))


def draw_classes(scores: Mapping[str, float]) -> Picture:
    """Draw the F1 of each class, worst first, at most 40 of them."""
    names = sorted(scores, key=lambda name: scores[name])[:_MOST_CLASSES]

    def paint(axes: Any) -> None:
        values = [scores[name] for name in names]
        axes.barh(range(len(names)), values, color=[_RED if value < 0.5 else _BLUE for value in values])
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("F1")

    return Picture("Classes", "F1 of each class, worst first.", draw(paint, width=9, height=1 + 0.3 * len(names)))
