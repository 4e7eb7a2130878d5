"""Replaced token detection, and beside it: does the second half of a row follow its first half?

Half of the rows get the second half of another row, drawn at random; a small head on the discriminator's vector of the
row says whether the halves stood together. The idea is that of next sentence prediction (Devlin et al. 2019, BERT,
section 3.1, whose pooler the head is) with halves of rows in the place of sentences. Which rows are mixed, and with
which, is a function of their keys.

    [CLS] first half [SEP] second half [SEP]

The token in the middle gives way to the [SEP], so that a row stays as long as it was. Where a document ends just there,
the halves do not belong together although they stood together, and the label says so.

No length tells the label: the other row is drawn for every row, whichever half is taken, and what follows the [SEP] is
as long as the shorter of the two second halves. Where its own is the longer one, a row is cut nearer to its end, not
shortened. So its lengths are the same whichever half it gets, and it ends where a row ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electrify.config import ObjectiveConfig
from electrify.models.heads import Network
from electrify.models.inputs import Inputs
from electrify.noise import HALVES, fold, uniform
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.ranking import auc
from electrify.objectives.rows import MaskedRows
from electrify.objectives.rtd import ReplacedTokenDetection, RTDOutput
from electrify.objectives.views import pool


@dataclass(frozen=True, slots=True)
class HalvedRows:
    """Rows of two halves each, with their masks drawn."""

    rows: MaskedRows
    is_other: Tensor
    """Rows whose second half does not continue the document of the first, (B,) bool."""

    @property
    def num_tokens(self) -> int:
        """Return the number of real tokens."""
        return self.rows.num_tokens

    @property
    def counts(self) -> Counts:
        """Return how many terms each loss has."""
        return {**self.rows.counts, "halves_loss": len(self.is_other)}


@dataclass(frozen=True, slots=True)
class HalvesOutput:
    """Loss and what diagnostics are made of; all but `loss` is detached."""

    loss: Tensor
    """The three losses, weighted, as parts of the whole batch; scalar."""
    rtd: RTDOutput
    halves_loss: Tensor
    """Sum over rows of the binary cross-entropy in nats, scalar float32."""
    logits: Tensor
    """Of "does not follow", (B,) float32."""
    is_other: Tensor
    """See `HalvedRows`."""

    @property
    def sums(self) -> dict[str, Tensor]:
        """Return the sums of all losses."""
        return {**self.rtd.sums, "halves_loss": self.halves_loss}


class Halves(Objective[HalvedRows, HalvesOutput]):
    """Two networks, and a head that compares halves; the head is in saved states, not in the published network.

    Args:
        rtd: Replaced token detection with both networks.
        objective: Weight, and what a row's vector is.
    """

    title = "replaced token detection and the relation of halves"
    needs_others = True

    def __init__(self, rtd: ReplacedTokenDetection, *, objective: ObjectiveConfig) -> None:
        super().__init__()
        self.rtd = rtd
        self.objective = objective
        size = rtd.discriminator.config.hidden_size
        self.relation_head = nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1))

    def prepare(self, inputs: Inputs, keys: Tensor) -> HalvedRows:
        """Mix halves and draw masks.

        Args:
            inputs: The rows and, behind them, one other row for each, (2·B, T), with `document_ids`.
            keys: One key a row, (B,) int64.

        Raises:
            ValueError: If there are not two rows a key, or no documents.
        """
        pad_id = self.rtd.discriminator.config.pad_token_id or 0  # whatever it is, nobody attends to it
        halved, is_other = mix_halves(inputs, keys, pad_id=pad_id)
        return HalvedRows(self.rtd.prepare(halved, keys), is_other)

    def forward(self, batch: HalvedRows, *, totals: Counts, with_figures: bool = False) -> HalvesOutput:
        """Compute the three losses.

        Args:
            batch: A micro-batch.
            totals: Terms of the losses of `rtd`, and rows ("halves_loss"), in the whole batch of the step.
            with_figures: As for `rtd`.
        """
        rows, network = batch.rows, self.rtd.discriminator
        drawn = self.rtd.corrupt(rows, with_figures=with_figures)
        hidden = network.body(drawn.shown)
        detected = self.rtd.detect(rows, drawn, network.judge(hidden, drawn.shown), totals=totals)
        vectors = pool(hidden, drawn.shown.attention_mask, how=self.objective.pooling)
        logits = self.relation_head(vectors).float().squeeze(-1)
        loss = F.binary_cross_entropy_with_logits(logits, batch.is_other.float(), reduction="sum")
        return HalvesOutput(
            loss=detected.loss + self.objective.halves_weight * loss / max(totals["halves_loss"], 1),
            rtd=detected,
            halves_loss=loss.detach(),
            logits=logits.detach(),
            is_other=batch.is_other,
        )

    def figures(self, output: HalvesOutput) -> Figures:
        """Reduce a forward pass to what `diagnose` needs."""
        return {
            **self.rtd.figures(output.rtd),
            "halves_scores": output.logits,
            "halves_labels": output.is_other,
        }

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return the figures of `rtd`, halves_auc, and halves_accuracy (share of rows that are called rightly)."""
        scores, labels = figures["halves_scores"], figures["halves_labels"]
        return {
            **self.rtd.diagnose(figures),
            "halves_auc": auc(scores, labels),
            "halves_accuracy": float(((scores > 0) == labels).double().mean()),
        }

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say which network does not learn."""
        return self.rtd.find_trouble(held_out, token_counts)

    def networks(self) -> dict[str, Network]:
        """Return both networks, without the head that compares halves."""
        return self.rtd.networks()


def mix_halves(inputs: Inputs, keys: Tensor, *, pad_id: int) -> tuple[Inputs, Tensor]:
    """Put each row together from its first half and a second half, its own or another row's, of the same length.

    Args:
        inputs: Rows that begin and end with special tokens and, behind them, one other row for each, (2·B, T).
        keys: One key a row, (B,) int64.
        pad_id: Id of [PAD].

    Returns:
        The rows with two segments and without documents, and which of them do not continue the document of their first
        half, (B,) bool.

    Raises:
        ValueError: If there are not two rows a key, or no documents.
    """
    ids, documents, size = inputs.input_ids, inputs.document_ids, len(keys)
    if len(ids) != 2 * size or documents is None:
        raise ValueError(f"{len(ids)} rows for {size} keys, expected two each, with the documents of their tokens")
    width = ids.shape[1]
    mask = inputs.attention_mask
    lengths = torch.full((2 * size,), width, device=ids.device) if mask is None else mask.sum(1)
    inner = (lengths - 2).clamp(min=0)  # (2·B,) tokens but [CLS] and [SEP]
    second = (inner - 1).clamp(min=0) // 2  # tokens of the second half; the one before it gives way
    taken = torch.minimum(second[:size], second[size:])[:, None]  # (B, 1) whichever half comes: lengths tell nothing
    border = (inner[:size, None] - taken).clamp(min=1)  # (B, 1) place of the [SEP]
    is_swapped = uniform(fold(keys, HALVES)) < 0.5
    rows = torch.arange(size, device=ids.device)
    source = torch.where(is_swapped, rows + size, rows)  # (B,) where the second half comes from
    columns = torch.arange(int((border + taken).max()) + 2, device=ids.device)
    is_behind = columns > border
    is_real = columns <= border + taken + 1
    is_separator = (columns == border) | (columns == border + taken + 1)
    from_end = lengths[source, None] - 1 - taken + (columns - border - 1)  # place in the row it comes from
    own_last = lengths[:size, None] - 1
    places = torch.where(is_behind, source[:, None] * width + from_end, rows[:, None] * width + columns)
    places = torch.where(is_separator, rows[:, None] * width + own_last, places).where(is_real, 0)
    halved = Inputs(
        input_ids=ids.flatten()[places].masked_fill(~is_real, pad_id),
        attention_mask=None if bool(is_real.all()) else is_real,
        token_type_ids=(is_behind & is_real).long(),
    )
    before, after = (documents[:size].gather(1, place.clamp(max=width - 1)) for place in (border - 1, border + 1))
    return halved, is_swapped | (before != after).squeeze(1)
