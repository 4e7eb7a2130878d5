"""Replace MLM: the generator's samples stand in place of [MASK], the encoder says what stood there before.

Source: Clark et al. 2020 (ELECTRA), "Efficiency Analysis". It asks how much BERT loses because [MASK] never occurs when
it is fine-tuned: the encoder never sees one, and learns at the chosen positions only, as BERT does. No gradient passes
through the samples.
"""

from collections.abc import Mapping

from torch import Tensor

from electrify.config import ObjectiveConfig
from electrify.models.heads import Generator, Network
from electrify.models.inputs import Inputs
from electrify.objectives import diagnostics
from electrify.objectives.corruption import SECOND, propose
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.rows import MaskedRows, Masker
from electrify.objectives.schedules import objective_at
from electrify.objectives.tokens import TokenOutput, score_hidden


class ReplaceMLM(Objective[MaskedRows, TokenOutput]):
    """The two networks and how they are trained together.

    Args:
        generator: Masked language model.
        encoder: The network that is fine-tuned later, with a head over the vocabulary; may share with the generator.
        masker: Hides tokens from the generator.
        objective: Weights and sampling.
    """

    title = "masked language modelling of replaced tokens"

    def __init__(self, generator: Generator, encoder: Generator, *, masker: Masker, objective: ObjectiveConfig) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder
        self.masker = masker
        self.objective = objective

    def prepare(self, inputs: Inputs, keys: Tensor) -> MaskedRows:
        """Draw the masks of some rows; see `Masker.draw`."""
        return self.masker.draw(
            inputs, keys, count=lambda masking, _: dict.fromkeys(("gen_loss", "mlm_loss"), masking.positions.numel())
        )

    def forward(self, rows: MaskedRows, *, totals: Counts, with_figures: bool = False) -> TokenOutput:
        """Corrupt the rows and compute both losses.

        Args:
            rows: A micro-batch.
            totals: Predictions of the generator ("gen_loss") and of the encoder ("mlm_loss") in the whole batch of the
                step; the losses are means over them.
            with_figures: Whether accuracies and entropies are computed.
        """
        objective = objective_at(self.objective, self.progress) if self.training else self.objective
        predictions, corruption = propose(
            self.generator, rows, objective=objective, drops=self.training, with_figures=with_figures
        )
        shown = rows.shown(corruption.corrupted_ids, network=SECOND, drops=self.training)
        hidden = self.encoder.hidden_states(shown).flatten(0, 1)[rows.masking.positions]
        scores = score_hidden(self.encoder, hidden, rows.original_ids, with_figures=with_figures)
        gen_loss = self.objective.gen_weight * predictions.loss / max(totals["gen_loss"], 1)
        return TokenOutput(
            loss=gen_loss + self.objective.encoder_weight * scores.loss / max(totals["mlm_loss"], 1),
            sums={"gen_loss": predictions.loss.detach(), "mlm_loss": scores.loss.detach()},
            target_ids={"gen": rows.original_ids, "mlm": rows.original_ids},
            scores={"gen": predictions, "mlm": scores},
        )

    def figures(self, output: TokenOutput) -> Figures:
        """Reduce a forward pass to counts."""
        return output.figures()

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return accuracy and entropy of both networks, gen_… and mlm_…; see `diagnostics.diagnose_tokens`."""
        return diagnostics.diagnose_tokens("gen", figures) | diagnostics.diagnose_tokens("mlm", figures)

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say whether the generator knows no more than frequencies; the encoder learns from what it draws."""
        plateau = diagnostics.plateau_loss(token_counts, masking=self.masker.config)
        return diagnostics.find_plateau("generator", held_out["gen_loss"], plateau=plateau)

    def networks(self) -> dict[str, Network]:
        """Return both networks."""
        return {"encoder": self.encoder, "generator": self.generator}
