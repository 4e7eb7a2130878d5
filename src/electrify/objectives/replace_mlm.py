"""Replace MLM: the generator's samples stand in place of [MASK], the encoder says what stood there before.

Source: Clark et al. 2020 (ELECTRA), "Efficiency Analysis". It asks how much BERT loses because [MASK] never occurs when
it is fine-tuned: the encoder never sees one, and learns at the chosen positions only, as BERT does.
"""

from torch import Tensor

from electrify.models.inputs import Inputs
from electrify.objectives.objective import Counts
from electrify.objectives.rows import MaskedRows
from electrify.objectives.samples import EncoderOfSamples
from electrify.objectives.tokens import TokenOutput, score_hidden


class ReplaceMLM(EncoderOfSamples):
    """The two networks, of which the encoder learns where something was hidden from the generator."""

    title = "masked language modelling of replaced tokens"

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
        predictions, _, hidden = self.read_samples(rows, with_figures=with_figures)
        scores = score_hidden(
            self.encoder,
            hidden[rows.masking.positions],
            rows.original_ids,
            z_loss=self.objective.z_loss,
            with_figures=with_figures,
        )
        loss, sums = self.weigh(predictions, scores, totals)
        return TokenOutput(
            loss=loss,
            sums=sums,
            target_ids={"gen": rows.original_ids, "mlm": rows.original_ids},
            scores={"gen": predictions, "mlm": scores},
        )
