"""One picture as SVG, the same bytes from the same numbers. Needs matplotlib."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from electrify.errors import ElectrifyError


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing and what it shows."""

    title: str
    caption: str
    svg: str


def draw(paint: Callable[[Any], None], *, width: float = 9, height: float = 3.2) -> str:
    """Return what `paint` draws on matplotlib's axes, as SVG.

    Args:
        paint: Draws.
        width: In inches.
        height: In inches.

    Raises:
        ElectrifyError: If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise ElectrifyError("matplotlib is not installed: pip install 'electrify[report]'.") from None
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "electrify", "font.family": "sans-serif"}
    style["text.parse_math"] = False  # a label may hold "$"
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        paint(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]
