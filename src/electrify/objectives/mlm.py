"""Masked language modelling: some tokens are hidden, the encoder says what stood there.

Source: Devlin et al. 2019 (BERT), section 3.1. Of the chosen tokens BERT shows 80 % as [MASK], 10 % as a random token
and keeps 10 % (`masking.mask_token_prob` = 0.8, `random_token_prob` = 0.1); 1.0 and 0.0 show all as [MASK]. Nothing is
learned at the other positions: what replaced token detection is measured against.
"""

from collections.abc import Mapping

from torch import Tensor

from electrify.models.heads import Generator, Network
from electrify.models.inputs import Inputs
from electrify.objectives import diagnostics
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.rows import MaskedRows, Masker
from electrify.objectives.tokens import TokenOutput, score_hidden

_ENCODER = 1


class MaskedLanguageModelling(Objective[MaskedRows, TokenOutput]):
    """One network and what it fills in.

    Args:
        encoder: With a head over the vocabulary.
        masker: Hides tokens.
        z_loss: Weight of the penalty on the softmax's denominator.
    """

    title = "masked language modelling"

    def __init__(self, encoder: Generator, *, masker: Masker, z_loss: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.masker = masker
        self.z_loss = z_loss

    def prepare(self, inputs: Inputs, keys: Tensor) -> MaskedRows:
        """Draw the masks of some rows; see `Masker.draw`."""
        return self.masker.draw(inputs, keys, count=lambda masking, _: {"mlm_loss": masking.positions.numel()})

    def forward(self, rows: MaskedRows, *, totals: Counts, with_figures: bool = False) -> TokenOutput:
        """Compute the mean loss over the chosen positions.

        Args:
            rows: A micro-batch.
            totals: Chosen positions ("mlm_loss") in the whole batch of the step.
            with_figures: Whether accuracy and entropy are computed.
        """
        shown = rows.shown(rows.masking.masked_ids, network=_ENCODER, drops=self.training)
        hidden = self.encoder.hidden_states(shown).flatten(0, 1)[rows.masking.positions]  # (P, H): only where masked
        scores = score_hidden(self.encoder, hidden, rows.original_ids, z_loss=self.z_loss, with_figures=with_figures)
        self.masker.observe(rows, scores.losses)
        return TokenOutput(
            loss=scores.loss / max(totals["mlm_loss"], 1),
            sums={"mlm_loss": scores.cross_entropy},
            target_ids={"mlm": rows.original_ids},
            scores={"mlm": scores},
        )

    def figures(self, output: TokenOutput) -> Figures:
        """Reduce a forward pass to counts."""
        return output.figures()

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return mlm_accuracy and mlm_entropy; see `diagnostics.diagnose_tokens`."""
        return diagnostics.diagnose_tokens("mlm", figures)

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say whether the encoder knows no more than frequencies."""
        plateau = diagnostics.plateau_loss(token_counts, masking=self.masker.config)
        return diagnostics.find_plateau("encoder", held_out.get("mlm_loss"), plateau=plateau)

    def networks(self) -> dict[str, Network]:
        """Return the encoder."""
        return {"encoder": self.encoder}
