"""Masked and causal language modelling by one network: most rows have tokens hidden, some are read from left to right.

Source: Charpentier and Samuel 2024 (GPT-BERT, arXiv 2410.24159), who mix them 15 : 1. Which rows are causal is drawn by
the row's key; all of a batch pass through the network at once, each under its own mask. GPT-BERT predicts a hidden
token at the position before it, so that both kinds predict the next token; here it is predicted where it stands, so
that what is published fills in [MASK] like any other masked language model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from electrify.models.causal_heads import as_decoder
from electrify.models.heads import Generator, Network
from electrify.models.inputs import Inputs
from electrify.noise import CAUSAL_ROWS, fold, network_keys, uniform
from electrify.objectives import diagnostics
from electrify.objectives.clm import find_next
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.rows import Masker
from electrify.objectives.tokens import TokenOutput, score_hidden

_NETWORK = 1


@dataclass(frozen=True, slots=True)
class HybridRows:
    """Rows of both kinds, ready for a forward pass."""

    inputs: Inputs
    """What the network is shown: hidden tokens in masked rows, which rows are causal."""
    keys: Tensor
    """One key a row, (B,) int64."""
    masked_positions: Tensor
    """Where a hidden token is predicted, as indices into B·T, (P,) int64."""
    masked_ids: Tensor
    """What stood there, (P,) int64."""
    causal_positions: Tensor
    """Where a next token is predicted, as indices into B·T, (Q,) int64."""
    next_ids: Tensor
    """The next tokens, (Q,) int64."""
    num_tokens: int

    @property
    def counts(self) -> Counts:
        """Return how many predictions of each kind there are."""
        return {"mlm_loss": self.masked_positions.numel(), "clm_loss": self.causal_positions.numel()}


class HybridLanguageModelling(Objective[HybridRows, TokenOutput]):
    """One network that fills in and continues.

    Args:
        network: With a head over the vocabulary.
        masker: Hides tokens in the rows that are not causal.
        causal_share: Share of rows that are, and weight of their mean loss; the rest is the other mean's.
        z_loss: Weight of the penalty on the softmax's denominator, in both.
    """

    title = "masked and causal language modelling"

    def __init__(self, network: Generator, *, masker: Masker, causal_share: float, z_loss: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.masker = masker
        self.causal_share = causal_share
        self.z_loss = z_loss

    def prepare(self, inputs: Inputs, keys: Tensor) -> HybridRows:
        """Choose the causal rows, and hide tokens in the others."""
        is_causal = uniform(fold(keys, CAUSAL_ROWS)) < self.causal_share  # (B,)
        rows = self.masker.draw(inputs, keys, count=lambda *_: {})
        positions = rows.masking.positions
        positions = positions[~is_causal[positions // inputs.input_ids.shape[1]]]
        original_ids = inputs.input_ids.flatten()
        next_positions = (find_next(inputs) & is_causal[:, None]).flatten().nonzero().squeeze(1)
        shown_ids = torch.where(is_causal[:, None], inputs.input_ids, rows.masking.masked_ids)
        return HybridRows(
            inputs=replace(inputs, input_ids=shown_ids, causal=is_causal),
            keys=keys,
            masked_positions=positions,
            masked_ids=original_ids[positions],
            causal_positions=next_positions,
            next_ids=original_ids[next_positions + 1],
            num_tokens=rows.num_tokens,
        )

    def forward(self, rows: HybridRows, *, totals: Counts, with_figures: bool = False) -> TokenOutput:
        """Compute both mean losses and weigh them by the shares of their rows.

        Args:
            rows: A micro-batch.
            totals: Predictions of each kind in the whole batch of the step; a kind without any adds nothing.
            with_figures: Whether accuracies and entropies are computed.
        """
        inputs = replace(rows.inputs, dropout_keys=network_keys(rows.keys, _NETWORK) if self.training else None)
        hidden = self.network.hidden_states(inputs).flatten(0, 1)
        mlm, clm = (
            score_hidden(self.network, hidden[positions], ids, z_loss=self.z_loss, with_figures=with_figures)
            for positions, ids in ((rows.masked_positions, rows.masked_ids), (rows.causal_positions, rows.next_ids))
        )
        masked = (1 - self.causal_share) * mlm.loss / max(totals["mlm_loss"], 1)
        return TokenOutput(
            loss=masked + self.causal_share * clm.loss / max(totals["clm_loss"], 1),
            sums={"mlm_loss": mlm.cross_entropy, "clm_loss": clm.cross_entropy},
            target_ids={"mlm": rows.masked_ids, "clm": rows.next_ids},
            scores={"mlm": mlm, "clm": clm},
        )

    def figures(self, output: TokenOutput) -> Figures:
        """Reduce a forward pass to counts."""
        return output.figures()

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return accuracy and entropy of both kinds of prediction; see `diagnostics.diagnose_tokens`."""
        return diagnostics.diagnose_tokens("mlm", figures) | diagnostics.diagnose_tokens("clm", figures)

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say whether the network knows no more than frequencies where tokens are hidden."""
        plateau = diagnostics.plateau_loss(token_counts, masking=self.masker.config)
        return diagnostics.find_plateau("encoder", held_out.get("mlm_loss"), plateau=plateau)

    def networks(self) -> dict[str, Network]:
        """Return the one network twice: as it fills in, and as it continues."""
        return {"encoder": self.network, "decoder": as_decoder(self.network)}

    def trained(self) -> list[Network]:
        """Return the one network."""
        return [self.network]
