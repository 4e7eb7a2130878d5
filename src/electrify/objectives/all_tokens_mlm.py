"""All-tokens MLM: the generator's samples stand in place of [MASK], the encoder says for *every* token what it was.

Source: Clark et al. 2020 (ELECTRA), "Efficiency Analysis": between BERT and ELECTRA. So that most of the network is not
spent on repeating its input, a gate says how likely a token is its own original; see `score_copies`. The gate is no
part of the published encoder; saved states keep it. The softmax is taken at every position, which makes this the most
expensive of the objectives here: with small networks most of the step.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from electrify.config import ObjectiveConfig
from electrify.models.heads import Generator, Network
from electrify.models.initialization import truncated_normal
from electrify.models.inputs import Inputs
from electrify.objectives import diagnostics
from electrify.objectives.corruption import SECOND, propose
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.ranking import auc
from electrify.objectives.rows import MaskedRows, Masker
from electrify.objectives.schedules import objective_at
from electrify.objectives.tokens import TokenOutput
from electrify.objectives.vocabulary import Scores, score_copies


class AllTokensMLM(Objective[MaskedRows, TokenOutput]):
    """The two networks, the gate, and how they are trained together.

    Args:
        generator: Masked language model.
        encoder: The network that is fine-tuned later, with a head over the vocabulary; may share with the generator.
        masker: Hides tokens from the generator.
        objective: Weights and sampling.
    """

    title = "masked language modelling of all tokens"

    def __init__(self, generator: Generator, encoder: Generator, *, masker: Masker, objective: ObjectiveConfig) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder
        self.copy_gate = nn.Linear(encoder.config.hidden_size, 1)
        truncated_normal(self.copy_gate, std=encoder.config.initializer_range)
        self.masker = masker
        self.objective = objective

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
        objective = objective_at(self.objective, self.progress) if self.training else self.objective
        predictions, corruption = propose(
            self.generator, rows, objective=objective, drops=self.training, with_figures=with_figures
        )
        shown = rows.shown(corruption.corrupted_ids, network=SECOND, drops=self.training)
        hidden = self.encoder.hidden_states(shown).flatten(0, 1)  # (B·T, H)
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
        gen_loss = self.objective.gen_weight * predictions.loss / max(totals["gen_loss"], 1)
        return TokenOutput(
            loss=gen_loss + self.objective.encoder_weight * scores.loss / max(totals["mlm_loss"], 1),
            sums={"gen_loss": predictions.loss.detach(), "mlm_loss": scores.loss.detach()},
            target_ids={"gen": rows.original_ids, "mlm": original_ids[is_replaced]},
            scores={"gen": predictions, "mlm": _where(scores, is_replaced)},
            more={"copy_scores": -gate.detach(), "copy_labels": is_replaced},
        )

    def figures(self, output: TokenOutput) -> Figures:
        """Reduce a forward pass to counts, and the gate's logits at the real tokens."""
        return output.figures()

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return the figures of both networks.

        Returns:
            gen_accuracy and gen_entropy; mlm_accuracy and mlm_entropy, of the softmax at replaced tokens, where copying
            is wrong; copy_auc, of the gate: how well it ranks replaced below original tokens.
        """
        tokens = diagnostics.diagnose_tokens("gen", figures) | diagnostics.diagnose_tokens("mlm", figures)
        return {**tokens, "copy_auc": auc(figures["copy_scores"], figures["copy_labels"])}

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say whether the generator knows no more than frequencies; the encoder learns from what it draws."""
        plateau = diagnostics.plateau_loss(token_counts, masking=self.masker.config)
        return diagnostics.find_plateau("generator", held_out["gen_loss"], plateau=plateau)

    def networks(self) -> dict[str, Network]:
        """Return both networks."""
        return {"encoder": self.encoder, "generator": self.generator}


def _where(scores: Scores, places: Tensor) -> Scores:
    """Return the figures at some of the positions."""
    if scores.best_ids is None or scores.entropy is None:
        return scores
    return Scores(scores.loss, scores.best_ids[places], scores.entropy[places], scores.losses[places])
