"""Span corruption: an encoder reads a row with some spans hidden, a decoder writes what they were.

Source: Raffel et al. 2020 (T5, arXiv 1910.10683), section 3.1.4: 15 % of the tokens in spans of 3 on average. The
decoder is shown each target's tokens before the one it predicts; sentinels and the end are predicted like all others.
By option some rows are shown whole and have to be repeated (`objective.copy_share`): a copy task, told from the other
by the absence of sentinels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from electrify.models.heads import Network
from electrify.models.inputs import Inputs
from electrify.models.t5_heads import T5ForConditionalGeneration
from electrify.noise import COPIED_ROWS, fold, network_keys, uniform
from electrify.objectives import diagnostics
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.span_corruption import SpanDrawer
from electrify.objectives.tokens import TokenOutput
from electrify.objectives.vocabulary import Scores, score_tokens

_ENCODER, _DECODER = 1, 2


@dataclass(frozen=True, slots=True)
class SpanRows:
    """Rows with their spans hidden, ready for a forward pass."""

    inputs: Inputs
    """What the encoder is shown, (B, S)."""
    keys: Tensor
    """One key a row, (B,) int64."""
    written_ids: Tensor
    """What the decoder is shown: the start and the target but for its last token, (B, U) int64."""
    positions: dict[str, Tensor]
    """Where the decoder predicts, by the name of the task, as indices into B·U, (P,) int64."""
    target_ids: dict[str, Tensor]
    """What it should predict there, (P,) int64."""
    num_tokens: int
    """Real tokens of the original rows."""

    @property
    def counts(self) -> Counts:
        """Return how many predictions there are for each task."""
        return {f"{task}_loss": positions.numel() for task, positions in self.positions.items()}


class SpanCorruption(Objective[SpanRows, TokenOutput]):
    """An encoder-decoder and what it fills in.

    Args:
        network: Its vocabulary has the sentinels.
        drawer: Hides spans.
        sentinels: The sentinels' tokens.
        copy_share: Share of rows that are repeated, and weight of their mean loss; the rest is the other mean's.
    """

    title = "span corruption"

    def __init__(
        self,
        network: T5ForConditionalGeneration,
        *,
        drawer: SpanDrawer,
        sentinels: tuple[str, ...],
        copy_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.drawer = drawer
        self.special_tokens = sentinels
        self.copy_share = copy_share

    def prepare(self, inputs: Inputs, keys: Tensor) -> SpanRows:
        """Hide spans, or choose a row to be repeated; see `SpanDrawer.draw`."""
        is_copied = uniform(fold(keys, COPIED_ROWS)) < self.copy_share
        texts, num_tokens = self.drawer.draw(inputs, keys, is_copied=is_copied)
        width = texts.target_ids.shape[1]
        start = torch.full_like(texts.target_ids[:, :1], self.network.config.decoder_start_token_id)
        is_target = torch.arange(width, device=keys.device) < texts.num_target[:, None]
        rows_of = {"span": ~is_copied} | ({"copy": is_copied} if self.copy_share else {})
        positions = {task: (is_target & rows[:, None]).flatten().nonzero().squeeze(1) for task, rows in rows_of.items()}
        targets = texts.target_ids.flatten()
        return SpanRows(
            inputs=texts.shown(inputs),
            keys=keys,
            written_ids=torch.cat([start, texts.target_ids[:, :-1]], dim=1),
            positions=positions,
            target_ids={task: targets[places] for task, places in positions.items()},
            num_tokens=num_tokens,
        )

    def forward(self, rows: SpanRows, *, totals: Counts, with_figures: bool = False) -> TokenOutput:
        """Compute the mean loss over the targets' tokens, and that over copies.

        Args:
            rows: A micro-batch.
            totals: Predictions of each task in the whole batch of the step; a task without any adds nothing.
            with_figures: Whether accuracies, entropies and the loss at hidden tokens are computed.
        """
        encoder_keys, decoder_keys = (
            network_keys(rows.keys, network) if self.training else None for network in (_ENCODER, _DECODER)
        )
        read = self.network.encode(replace(rows.inputs, dropout_keys=encoder_keys))
        hidden = self.network.decode(rows.written_ids, read, dropout_keys=decoder_keys).flatten(0, 1)
        scores = {
            task: self._score(hidden[positions], rows.target_ids[task], with_figures=with_figures)
            for task, positions in rows.positions.items()
        }
        weights = {"span": 1 - self.copy_share, "copy": self.copy_share}
        losses = [weights[task] * one.loss / max(totals[f"{task}_loss"], 1) for task, one in scores.items()]
        return TokenOutput(
            loss=torch.stack(losses).sum(),
            sums={f"{task}_loss": one.loss.detach() for task, one in scores.items()},
            target_ids=rows.target_ids,
            scores=scores,
            more=self._hidden_tokens(rows.target_ids["span"], scores["span"]) if with_figures else {},
        )

    def _score(self, hidden: Tensor, target_ids: Tensor, *, with_figures: bool) -> Scores:
        network = self.network
        bias = torch.zeros(network.config.vocab_size, device=hidden.device)  # T5 has none
        return score_tokens(network.vectors(hidden), network.output_table, bias, target_ids, with_figures=with_figures)

    def _hidden_tokens(self, target_ids: Tensor, scores: Scores) -> Figures:
        is_hidden = ~torch.isin(target_ids, self.drawer.marker_ids)
        return {
            "hidden_nats_sum": scores.losses[is_hidden].double().sum()[None],
            "hidden_nats_count": is_hidden.sum()[None],
        }

    def figures(self, output: TokenOutput) -> Figures:
        """Reduce a forward pass to counts."""
        return output.figures()

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return span_accuracy and span_entropy, the same of copies, and hidden_nats.

        The last is the mean cross-entropy of the tokens that were hidden, without sentinels and ends. What has no terms
        is left out.
        """
        found = diagnostics.diagnose_tokens("span", figures)
        if self.copy_share:
            found |= diagnostics.diagnose_tokens("copy", figures)
        count = int(figures["hidden_nats_count"].sum())
        return found | ({"hidden_nats": float(figures["hidden_nats_sum"].sum()) / count} if count else {})

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say whether the decoder knows no more than frequencies."""
        plateau = diagnostics.unigram_entropy(token_counts)
        return diagnostics.find_plateau("decoder", held_out.get("hidden_nats"), plateau=plateau, has_body=False)

    def networks(self) -> dict[str, Network]:
        """Return the encoder-decoder."""
        return {"encoder_decoder": self.network}
