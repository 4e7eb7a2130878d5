"""A generator, and an encoder with a head over the vocabulary that reads its samples: what two ablations share.

Source: Clark et al. 2020 (ELECTRA), "Efficiency Analysis". Replace MLM and All-tokens MLM differ in the positions that
the encoder learns at, and in how it may copy. No gradient passes through the samples.
"""

from collections.abc import Mapping

from torch import Tensor

from electrify.config import ObjectiveConfig
from electrify.models.heads import Generator, Network
from electrify.objectives import diagnostics
from electrify.objectives.corruption import SECOND, Corruption, propose
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.rows import MaskedRows, Masker
from electrify.objectives.schedules import objective_at
from electrify.objectives.tokens import TokenOutput
from electrify.objectives.vocabulary import Predictions, Scores


class EncoderOfSamples(Objective[MaskedRows, TokenOutput]):
    """The two networks and what is done with both.

    Args:
        generator: Masked language model.
        encoder: The network that is fine-tuned later, with a head over the vocabulary; may share with the generator.
        masker: Hides tokens from the generator.
        objective: Weights and sampling.
    """

    def __init__(self, generator: Generator, encoder: Generator, *, masker: Masker, objective: ObjectiveConfig) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder
        self.masker = masker
        self.objective = objective

    def read_samples(self, rows: MaskedRows, *, with_figures: bool) -> tuple[Predictions, Corruption, Tensor]:
        """Return what the generator drew, the rows with it in them, and the encoder's hidden states there, (B·T, H)."""
        objective = objective_at(self.objective, self.progress) if self.training else self.objective
        predictions, corruption = propose(
            self.generator, rows, objective=objective, drops=self.training, with_figures=with_figures
        )
        self.masker.observe(rows, predictions.losses)
        shown = rows.shown(corruption.corrupted_ids, network=SECOND, drops=self.training)
        return predictions, corruption, self.encoder.hidden_states(shown).flatten(0, 1)

    def weigh(self, predictions: Predictions, scores: Scores, totals: Counts) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of both mean losses, and the sum of each."""
        gen_loss = self.objective.gen_weight * predictions.loss / max(totals["gen_loss"], 1)
        loss = gen_loss + self.objective.encoder_weight * scores.loss / max(totals["mlm_loss"], 1)
        return loss, {"gen_loss": predictions.cross_entropy, "mlm_loss": scores.cross_entropy}

    def figures(self, output: TokenOutput) -> Figures:
        """Reduce a forward pass to counts, and what else it has kept."""
        return output.figures()

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return accuracy and entropy of both networks, gen_… and mlm_…; see `diagnostics.diagnose_tokens`."""
        return diagnostics.diagnose_tokens("gen", figures) | diagnostics.diagnose_tokens("mlm", figures)

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say whether the generator knows no more than frequencies; the encoder learns from what it draws."""
        plateau = diagnostics.plateau_loss(token_counts, masking=self.masker.config)
        return diagnostics.find_plateau("generator", held_out.get("gen_loss"), plateau=plateau)

    def networks(self) -> dict[str, Network]:
        """Return both networks."""
        return {"encoder": self.encoder, "generator": self.generator}
