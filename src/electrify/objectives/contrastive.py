"""Replaced token detection, and beside it: two views of a row are more alike than views of different rows.

Source: Meng et al. 2021 (COCO-LM, arXiv 2102.08473), section 3.2, "sequence contrastive learning". The discriminator
reads each row twice: with the generator's samples in it, as always, and cropped. One vector is made of each view; for
every view, the other view of its row must be told from all views of all other rows by cosine / temperature (InfoNCE).
Trained by replaced tokens alone, vectors of any two rows point almost the same way.

The other rows are those of the same micro-batch on all processes: a loss over the rows of a batch can not be taken in
parts, unlike all others here. Without `training.micro_batch_size` they are the whole batch of the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.config import ObjectiveConfig
from electrify.models.heads import Network
from electrify.models.inputs import Inputs
from electrify.noise import network_keys
from electrify.objectives.gathering import gather_rows
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.rows import MaskedRows
from electrify.objectives.rtd import ReplacedTokenDetection, RTDOutput
from electrify.objectives.views import crop, pool

_CROPPED = 3  # number of the network for dropout, after the generator and the discriminator on corrupted rows


@dataclass(frozen=True, slots=True)
class ViewedRows:
    """Rows with masks and crops drawn."""

    rows: MaskedRows
    cropped: Inputs
    """The other view of each row."""

    @property
    def num_tokens(self) -> int:
        """Return the number of real tokens of the rows; those of the cropped views are not counted again."""
        return self.rows.num_tokens

    @property
    def counts(self) -> Counts:
        """Return how many terms each loss has: for the contrastive one, two views a row."""
        return {**self.rows.counts, "contrast_loss": 2 * len(self.rows.keys)}


@dataclass(frozen=True, slots=True)
class ContrastiveOutput:
    """Loss and what diagnostics are made of; all but `loss` is detached."""

    loss: Tensor
    """The three losses, weighted, as parts of the whole batch; scalar."""
    rtd: RTDOutput
    contrast_loss: Tensor
    """Sum over views of the cross-entropy in nats, scalar float32."""
    more: Figures
    """What is known of the vectors."""

    @property
    def sums(self) -> dict[str, Tensor]:
        """Return the sums of all losses."""
        return {**self.rtd.sums, "contrast_loss": self.contrast_loss}


class Contrastive(Objective[ViewedRows, ContrastiveOutput]):
    """Two networks, and a third loss on the discriminator's view of whole rows.

    Args:
        rtd: Replaced token detection with both networks.
        objective: Weight, temperature, size of the crop, and what a row's vector is.
    """

    title = "replaced token detection and sequence contrastive learning"

    def __init__(self, rtd: ReplacedTokenDetection, *, objective: ObjectiveConfig) -> None:
        super().__init__()
        self.rtd = rtd
        self.objective = objective

    def prepare(self, inputs: Inputs, keys: Tensor) -> ViewedRows:
        """Draw masks and crops; see `Masker.draw` and `views.crop`."""
        return ViewedRows(self.rtd.prepare(inputs, keys), crop(inputs, keys, share=self.objective.crop_share))

    def forward(self, batch: ViewedRows, *, totals: Counts, with_figures: bool = False) -> ContrastiveOutput:
        """Compute the three losses.

        Args:
            batch: A micro-batch; all processes must have one.
            totals: Terms of the losses of `rtd`, and views ("contrast_loss"), in the whole batch of the step.
            with_figures: As for `rtd`.
        """
        rows, network = batch.rows, self.rtd.discriminator
        drawn = self.rtd.corrupt(rows, with_figures=with_figures)
        hidden = network.body(drawn.shown)
        detected = self.rtd.detect(rows, drawn, network.judge(hidden, drawn.shown), totals=totals)
        cropped = replace(batch.cropped, dropout_keys=network_keys(rows.keys, _CROPPED) if self.training else None)
        views = [(hidden, drawn.shown), (network.body(cropped), cropped)]
        vectors = torch.stack([self._vector(states, inputs) for states, inputs in views], dim=1)  # (B, 2, H)
        loss, figures = contrast(vectors, temperature=self.objective.contrast_temperature)
        return ContrastiveOutput(
            loss=detected.loss + self.objective.contrast_weight * loss / max(totals["contrast_loss"], 1),
            rtd=detected,
            contrast_loss=loss.detach(),
            more=figures,
        )

    def _vector(self, hidden: Tensor, inputs: Inputs) -> Tensor:
        return F.normalize(pool(hidden, inputs.attention_mask, how=self.objective.pooling), dim=-1)

    def figures(self, output: ContrastiveOutput) -> Figures:
        """Reduce a forward pass to what `diagnose` needs."""
        return {**self.rtd.figures(output.rtd), **output.more}

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return the figures of `rtd`, and those of the vectors.

        Returns:
            Beside those of `rtd`: row_cosine (mean cosine between corrupted views of different rows; NaN with one row
            a batch), view_cosine (between the two views of a row), view_accuracy (share of views whose nearest is the
            other view of their row).
        """
        num_views, num_pairs = figures["view_is_nearest"].numel(), float(figures["num_other_rows"].sum())
        return {
            **self.rtd.diagnose(figures),
            "row_cosine": float(figures["row_cosine_sums"].double().sum()) / num_pairs if num_pairs else float("nan"),
            "view_cosine": float(figures["view_cosines"].double().mean()),
            "view_accuracy": int(figures["view_is_nearest"].sum()) / num_views,
        }

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say which network does not learn."""
        return self.rtd.find_trouble(held_out, token_counts)

    def networks(self) -> dict[str, Network]:
        """Return both networks; the contrastive loss has no parameters of its own."""
        return self.rtd.networks()


def contrast(vectors: Tensor, *, temperature: float) -> tuple[Tensor, Figures]:
    """Return how badly the views of rows find each other, and figures.

    Args:
        vectors: Two views a row, of length 1, (B, 2, H) float32; those of other processes are gathered.
        temperature: By which cosines are divided.

    Returns:
        The sum over this process's views of the cross-entropy in nats, in which the other view of the row is right and
        all views of all other rows are wrong; it is 0 if there are none. And its figures, of this process's rows.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        gathered, first = gather_rows(vectors)
        cosines = vectors.flatten(0, 1) @ gathered.flatten(0, 1).T  # (2·B, 2·N), B of N rows here
        own = 2 * first + torch.arange(len(cosines), device=cosines.device)
        other = own ^ 1
        scores = (cosines / temperature).scatter(1, own[:, None], -torch.inf)
        loss = F.cross_entropy(scores, other, reduction="sum")
    with torch.no_grad():
        between = cosines[::2, ::2]  # corrupted views, (B, N)
        rows = first + torch.arange(len(vectors), device=cosines.device)
        return loss, {
            "row_cosine_sums": between.scatter(1, rows[:, None], 0.0).sum(1),
            "num_other_rows": torch.full((len(vectors),), len(gathered) - 1, device=cosines.device),
            "view_cosines": cosines.gather(1, other[:, None]).squeeze(1)[::2],
            "view_is_nearest": scores.argmax(1) == other,
        }
