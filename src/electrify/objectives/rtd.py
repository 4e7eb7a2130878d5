"""Replaced token detection: two networks, one corruption, two losses.

Source: Clark et al. 2020 (ELECTRA), section 2. The generator predicts the hidden tokens and is trained as a masked
language model; one of its samples is put at each chosen position; the discriminator says for *every* real token whether
it was replaced. A sample that happens to be the original is not replaced. No gradient passes through the sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from electrify.config import ObjectiveConfig
from electrify.models.heads import Discriminator, Generator, Network
from electrify.models.inputs import Inputs
from electrify.objectives import diagnostics
from electrify.objectives.corruption import SECOND, Corruption, propose
from electrify.objectives.masking import Masking
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.rows import MaskedRows, Masker
from electrify.objectives.schedules import objective_at
from electrify.objectives.vocabulary import Predictions


@dataclass(frozen=True, slots=True)
class RTDOutput:
    """Loss and what diagnostics are made of; all but `loss` is detached."""

    loss: Tensor
    """gen_weight · generator loss + disc_weight · discriminator loss, as parts of the whole batch; scalar."""
    gen_loss: Tensor
    """Sum over predictions of the cross-entropy in nats, scalar float32."""
    disc_loss: Tensor
    """Sum over judged tokens of the binary cross-entropy in nats, scalar float32."""
    disc_logits: Tensor
    """Logits of "replaced" at the judged tokens, which are the real ones, (N,)."""
    original_ids: Tensor
    """What stood at the chosen positions, (P,) int64."""
    sampled_ids: Tensor
    """What the generator put there, (P,) int64."""
    best_ids: Tensor | None
    """What the generator holds most likely there, (P,) int64; None without figures."""
    gen_entropy: Tensor | None
    """Entropy of the generator's distributions in nats, (P,) float32; None without figures."""
    is_replaced: Tensor
    """At the judged tokens, (N,) bool."""
    corrupted_ids: Tensor
    """What the discriminator saw, (B, T) int64."""

    @property
    def sums(self) -> dict[str, Tensor]:
        """Return the sums of both losses."""
        return {"gen_loss": self.gen_loss, "disc_loss": self.disc_loss}


@dataclass(frozen=True, slots=True)
class Drawn:
    """Rows with the generator's samples in them, before they are judged."""

    objective: ObjectiveConfig
    """Weights and sampling at this point of the run."""
    predictions: Predictions
    corruption: Corruption
    shown: Inputs
    """What the discriminator reads."""


class ReplacedTokenDetection(Objective[MaskedRows, RTDOutput]):
    """The two networks and how they are trained together.

    Args:
        generator: Masked language model.
        discriminator: Token detector; may share embeddings with the generator.
        masker: Hides tokens from the generator.
        objective: Weights and sampling.
        judges_all: Whether every real token is judged, or the chosen ones only: the paper's ablation "ELECTRA 15%"
            ("Efficiency Analysis"), which shows how much of the gain comes from learning at every position.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        *,
        masker: Masker,
        objective: ObjectiveConfig,
        judges_all: bool = True,
    ) -> None:
        super().__init__()
        self.title = "replaced token detection" + ("" if judges_all else " at the masked positions only")
        self.judges_all = judges_all
        self.generator = generator
        self.discriminator = discriminator
        self.masker = masker
        self.objective = objective

    def prepare(self, inputs: Inputs, keys: Tensor) -> MaskedRows:
        """Draw the masks of some rows; see `Masker.draw`."""

        def count(masking: Masking, num_tokens: int) -> Counts:
            num_judged = num_tokens if self.judges_all else masking.positions.unique().numel()
            return {"gen_loss": masking.positions.numel(), "disc_loss": num_judged}

        return self.masker.draw(inputs, keys, count=count)

    def forward(self, rows: MaskedRows, *, totals: Counts, with_figures: bool = False) -> RTDOutput:
        """Corrupt the rows and compute both losses.

        Args:
            rows: A micro-batch.
            totals: Predictions ("gen_loss") and judged tokens ("disc_loss") in the whole batch of the step; the losses
                are means over them.
            with_figures: Whether `best_ids` and `gen_entropy` are computed.
        """
        drawn = self.corrupt(rows, with_figures=with_figures)
        return self.detect(rows, drawn, self.discriminator(drawn.shown), totals=totals)

    def corrupt(self, rows: MaskedRows, *, with_figures: bool) -> Drawn:
        """Let the generator fill the rows: the first half of `forward`."""
        objective = objective_at(self.objective, self.progress) if self.training else self.objective
        predictions, corruption = propose(
            self.generator, rows, objective=objective, drops=self.training, with_figures=with_figures
        )
        self.masker.observe(rows, predictions.losses)
        shown = rows.shown(corruption.corrupted_ids, network=SECOND, drops=self.training)
        return Drawn(objective, predictions, corruption, shown)

    def detect(self, rows: MaskedRows, drawn: Drawn, logits: Tensor, *, totals: Counts) -> RTDOutput:
        """Compute both losses: the second half of `forward`.

        Args:
            rows: A micro-batch.
            drawn: What `corrupt` returned for it.
            logits: The discriminator's for `drawn.shown`, (B, T).
            totals: As for `forward`.
        """
        objective, predictions, corruption = drawn.objective, drawn.predictions, drawn.corruption
        disc_logits = logits.float().flatten()
        is_replaced = corruption.is_replaced.flatten()
        if not self.judges_all:
            judged = rows.masking.positions.unique()
            disc_logits, is_replaced = disc_logits[judged], is_replaced[judged]
        elif rows.inputs.attention_mask is not None:  # padding is neither attended nor judged
            is_real = rows.inputs.attention_mask.flatten()
            disc_logits, is_replaced = disc_logits[is_real], is_replaced[is_real]
        disc_loss = F.binary_cross_entropy_with_logits(disc_logits, is_replaced.float(), reduction="sum")

        loss = objective.gen_weight * predictions.loss / max(
            totals["gen_loss"], 1
        ) + objective.disc_weight * disc_loss / max(totals["disc_loss"], 1)
        return RTDOutput(
            loss=loss,
            gen_loss=predictions.cross_entropy,
            disc_loss=disc_loss.detach(),
            disc_logits=disc_logits.detach(),
            original_ids=rows.original_ids,
            sampled_ids=predictions.sampled_ids,
            best_ids=predictions.best_ids,
            gen_entropy=predictions.entropy,
            is_replaced=is_replaced,
            corrupted_ids=corruption.corrupted_ids,
        )

    def figures(self, output: RTDOutput) -> Figures:
        """Reduce a forward pass to what `diagnose` needs; see `diagnostics.summarise`."""
        return diagnostics.summarise(output)

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return the figures of some forward passes; see `diagnostics.diagnose`."""
        return diagnostics.diagnose(figures)

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say which network does not learn."""
        plateau = diagnostics.plateau_loss(token_counts, masking=self.masker.config)
        trouble = diagnostics.find_plateau("generator", held_out.get("gen_loss"), plateau=plateau)
        return trouble or diagnostics.find_blindness(held_out["disc_auc"])

    def networks(self) -> dict[str, Network]:
        """Return both networks."""
        return {"discriminator": self.discriminator, "generator": self.generator}
