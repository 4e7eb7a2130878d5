"""All-tokens MLM: the generator's samples stand in place of [MASK], the encoder says for *every* token what it was.

Source: Clark et al. 2020 (ELECTRA), "Efficiency Analysis": between BERT and ELECTRA. So that most of the network is not
spent on repeating its input, a gate says how likely a token is its own original; see `score_copies`. The gate is no
part of the published encoder; saved states keep it. The softmax is taken at every position, which makes this the most
expensive of the objectives here: with small networks most of the step.
"""

from torch import Tensor, nn

from electrify.config import ObjectiveConfig
from electrify.models.heads import Generator
from electrify.models.initialization import truncated_normal
from electrify.models.inputs import Inputs
from electrify.objectives.objective import Counts, Figures
from electrify.objectives.ranking import auc
from electrify.objectives.rows import MaskedRows, Masker
from electrify.objectives.samples import EncoderOfSamples
from electrify.objectives.tokens import TokenOutput
from electrify.objectives.vocabulary import Scores, score_copies


class AllTokensMLM(EncoderOfSamples):
    """The two networks and the gate; arguments as for `EncoderOfSamples`."""

    title = "masked language modelling of all tokens"

    def __init__(self, generator: Generator, encoder: Generator, *, masker: Masker, objective: ObjectiveConfig) -> None:
        super().__init__(generator, encoder, masker=masker, objective=objective)
        self.copy_gate = nn.Linear(encoder.config.hidden_size, 1)
        truncated_normal(self.copy_gate, std=encoder.config.initializer_range)

    def prepare(self, inputs: Inputs, keys: Tensor) -> MaskedRows:
        """Draw the masks of some rows; see `Masker.draw`."""
        return self.masker.draw(
            inputs, keys, count=lambda masking, tokens: {"gen_loss": masking.positions.numel(), "mlm_loss": tokens}
        )

    def forward(self, rows: MaskedRows, *, totals: Counts, with_figures: bool = False) -> TokenOutput:
        """Corrupt the rows and compute both losses.

        Args:
            rows: A micro-batch.
            totals: Predictions of the generator ("gen_loss") and real tokens ("mlm_loss") in the whole batch of the
                step; the losses are means over them.
            with_figures: Whether accuracies and entropies are computed.
        """
        predictions, corruption, hidden = self.read_samples(rows, with_figures=with_figures)
        original_ids, is_replaced = rows.inputs.input_ids.flatten(), corruption.is_replaced.flatten()
        if rows.inputs.attention_mask is not None:
            is_real = rows.inputs.attention_mask.flatten()
            hidden, original_ids, is_replaced = hidden[is_real], original_ids[is_real], is_replaced[is_real]
        gate = self.copy_gate(hidden).squeeze(-1).float()
        scores = score_copies(
            self.encoder.vectors(hidden),
            self.encoder.body.word_embeddings.weight,
            self.encoder.output_bias,
            original_ids,
            gate=gate,
            is_same=~is_replaced,
            with_figures=with_figures,
        )
        loss, sums = self.weigh(predictions, scores, totals)
        return TokenOutput(
            loss=loss,
            sums=sums,
            target_ids={"gen": rows.original_ids, "mlm": original_ids[is_replaced]},
            scores={"gen": predictions, "mlm": _where(scores, is_replaced)},
            more={"copy_scores": -gate.detach(), "copy_labels": is_replaced},
        )

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return the figures of both networks.

        Returns:
            gen_accuracy and gen_entropy; mlm_accuracy and mlm_entropy, of the softmax at replaced tokens, where copying
            is wrong; copy_auc, of the gate: how well it ranks replaced below original tokens.
        """
        return {**super().diagnose(figures), "copy_auc": auc(figures["copy_scores"], figures["copy_labels"])}


def _where(scores: Scores, places: Tensor) -> Scores:
    """Return the figures at some of the positions."""
    if scores.best_ids is None or scores.entropy is None:
        return scores
    return Scores(scores.loss, scores.best_ids[places], scores.entropy[places], scores.losses[places])
