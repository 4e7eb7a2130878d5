"""Causal language modelling: the decoder reads from left to right and predicts each next token.

Source: Radford et al. 2018 (GPT), section 3.1. Every real token but a row's first is predicted, special ones included,
as Transformers does it; where attention stays within documents, so does the prediction. [CLS] stands for the start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from electrify.models.causal_heads import CausalLM
from electrify.models.heads import Network
from electrify.models.inputs import Inputs
from electrify.noise import network_keys
from electrify.objectives import diagnostics
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.tokens import TokenOutput, score_hidden

_DECODER = 1


@dataclass(frozen=True, slots=True)
class CausalRows:
    """Rows and where a next token is predicted."""

    inputs: Inputs
    keys: Tensor
    """One key a row, (B,) int64."""
    positions: Tensor
    """Positions whose next token is predicted, as indices into B·T, (P,) int64."""
    num_tokens: int
    """Real tokens in all rows."""
    counts: Counts

    @property
    def next_ids(self) -> Tensor:
        """Return what should be predicted, (P,) int64."""
        return self.inputs.input_ids.flatten()[self.positions + 1]


def find_next(inputs: Inputs) -> Tensor:
    """Return which positions have a next token that is predicted: a real one of the same document, (B, T) bool."""
    has_next = torch.ones_like(inputs.input_ids, dtype=torch.bool)
    has_next[:, -1] = False
    if inputs.attention_mask is not None:
        has_next[:, :-1] &= inputs.attention_mask[:, 1:].bool()
    if inputs.document_ids is not None:
        has_next[:, :-1] &= inputs.document_ids[:, 1:] == inputs.document_ids[:, :-1]
    return has_next


class CausalLanguageModelling(Objective[CausalRows, TokenOutput]):
    """One network and what it continues.

    Args:
        decoder: With a head over the vocabulary.
        z_loss: Weight of the penalty on the softmax's denominator.
    """

    title = "causal language modelling"

    def __init__(self, decoder: CausalLM, *, z_loss: float = 0.0) -> None:
        super().__init__()
        self.decoder = decoder
        self.z_loss = z_loss

    def prepare(self, inputs: Inputs, keys: Tensor) -> CausalRows:
        """Find what is predicted; only dropout is random here."""
        positions = find_next(inputs).flatten().nonzero().squeeze(1)
        num_tokens = inputs.input_ids.numel() if inputs.attention_mask is None else int(inputs.attention_mask.sum())
        return CausalRows(inputs, keys, positions, num_tokens, {"clm_loss": positions.numel()})

    def forward(self, rows: CausalRows, *, totals: Counts, with_figures: bool = False) -> TokenOutput:
        """Compute the mean loss over the next tokens.

        Args:
            rows: A micro-batch.
            totals: Predictions ("clm_loss") in the whole batch of the step.
            with_figures: Whether accuracy and entropy are computed.
        """
        inputs = replace(rows.inputs, dropout_keys=network_keys(rows.keys, _DECODER) if self.training else None)
        hidden = self.decoder.hidden_states(inputs).flatten(0, 1)[rows.positions]
        scores = score_hidden(self.decoder, hidden, rows.next_ids, z_loss=self.z_loss, with_figures=with_figures)
        return TokenOutput(
            loss=scores.loss / max(totals["clm_loss"], 1),
            sums={"clm_loss": scores.cross_entropy},
            target_ids={"clm": rows.next_ids},
            scores={"clm": scores},
        )

    def figures(self, output: TokenOutput) -> Figures:
        """Reduce a forward pass to counts."""
        return output.figures()

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return clm_accuracy and clm_entropy; see `diagnostics.diagnose_tokens`."""
        return diagnostics.diagnose_tokens("clm", figures)

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say whether the decoder knows no more than frequencies."""
        plateau = diagnostics.unigram_entropy(token_counts)
        return diagnostics.find_plateau("decoder", held_out.get("clm_loss"), plateau=plateau)

    def networks(self) -> dict[str, Network]:
        """Return the decoder."""
        return {"decoder": self.decoder}
