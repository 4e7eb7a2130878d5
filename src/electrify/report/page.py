"""A run as one HTML file: tables, curves as pictures, sentences with replaced tokens. It needs no network.

Everything that comes from data or models is escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from electrify.errors import ElectrifyError
from electrify.files import write_text
from electrify.report.curves import draw_curves
from electrify.report.drawing import Picture
from electrify.runs import read_metrics
from electrify.verbs.corrupt import CorruptedToken

_CONTINUATION = "##"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows, from top to bottom."""

    title: str
    subtitle: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    texts: Sequence[Sequence[CorruptedToken]] = field(default=())


FIGURES = {
    "gen_loss": ("Generator's loss", "nats", "Cross-entropy at the masked positions; lower is better."),
    "disc_loss": ("Discriminator's loss", "nats", "Binary cross-entropy over the tokens that it judges."),
    "disc_auc": (
        "Discriminator's AUC",
        "AUC",
        "How well it ranks replaced above original tokens: 0.5 is chance, 1 is perfect.",
    ),
    "disc_average_precision": (
        "Discriminator's average precision",
        "average precision",
        "Mean precision over all thresholds; chance is the share of replaced tokens.",
    ),
    "disc_recall_at_1pct": (
        "Discriminator's recall at 1 % false alarms",
        "recall",
        "Share of the replaced tokens that it finds when it suspects 1 % of the original ones.",
    ),
    "gen_accuracy": (
        "Generator's accuracy",
        "share",
        "How often its most likely token is the original, at the masked positions.",
    ),
    "gen_sampled_accuracy": (
        "Accuracy of the generator's samples",
        "share",
        "How often the token that it draws is the original; such tokens count as not replaced.",
    ),
    "gen_entropy": ("Generator's entropy", "nats", "How undecided it is at the masked positions; 0 is certain."),
    "share_replaced": ("Replaced tokens", "share", "Tokens that differ from the original, of those that are judged."),
    "contrast_loss": (
        "Contrastive loss",
        "nats",
        "Cross-entropy of telling a row's other view from those of other rows.",
    ),
    "row_cosine": ("Cosine of different rows", "mean cosine", "Near 1, vectors of all rows point one way."),
    "halves_loss": ("Loss of halves", "nats", "Binary cross-entropy of telling which halves belong together."),
    "mlm_loss": ("Encoder's loss", "nats", "Cross-entropy of the original tokens; lower is better."),
    "mlm_accuracy": ("Encoder's accuracy", "share", "How often the most likely token is the original."),
    "clm_loss": ("Loss of next tokens", "nats", "Cross-entropy of each token given those before it; lower is better."),
    "clm_accuracy": (
        "Accuracy of next tokens",
        "share",
        "How often the most likely token is the one that follows.",
    ),
    "span_loss": ("Loss of hidden spans", "nats", "Cross-entropy of what the decoder writes; lower is better."),
    "copy_loss": ("Loss of copied rows", "nats", "Cross-entropy of rows that are repeated; lower is better."),
    "hidden_nats": ("Hidden tokens", "nats", "Cross-entropy of hidden tokens alone, without sentinels and ends."),
    "noise_loss": ("Noise model's loss", "nats", "Cross-entropy of every token given the others; lower is better."),
    "nce_loss": ("Scorer's loss", "nats", "Binary cross-entropy of telling noise from tokens."),
    "nce_auc": ("Scorer's AUC", "AUC", "How well it ranks noise above tokens: 0.5 is chance, 1 is perfect."),
    "copy_auc": (
        "Gate's AUC",
        "AUC",
        "How well the gate that copies ranks original above replaced tokens: 0.5 is chance, 1 is perfect.",
    ),
}
"""Title, unit and caption of the figures that are drawn, where a run's objective has them."""


def pretraining_pictures(run: Path) -> list[Picture]:
    """Return the curves of a run: its losses, and the figures by which its objective is judged."""
    records = read_metrics(run)
    found = {name for record in records for name in record}
    return [
        draw_curves(records, [name], title=title, label=label, caption=caption)
        for name, (title, label, caption) in FIGURES.items()
        if name in found
    ]


def write_page(page: Page, path: Path) -> None:
    """Write a page as one HTML file.

    Raises:
        ElectrifyError: If jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise ElectrifyError("jinja2 is not installed: pip install 'electrify[report]'.") from None
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        files("electrify.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    pictures = [
        {"title": picture.title, "caption": picture.caption, "svg": Markup(picture.svg)}  # noqa: S704 - our own drawing
        for picture in page.pictures
    ]
    texts = [[_shown(token) for token in tokens] for tokens in page.texts]
    write_text(
        path,
        template.render(title=page.title, subtitle=page.subtitle, tables=page.tables, pictures=pictures, texts=texts),
    )


def _shown(token: CorruptedToken) -> dict[str, Any]:
    return {
        "text": token.shown.removeprefix(_CONTINUATION),
        "is_continuation": token.shown.startswith(_CONTINUATION),
        "original": token.original.removeprefix(_CONTINUATION),
        "is_replaced": token.is_replaced,
        "probability": token.probability,
    }
