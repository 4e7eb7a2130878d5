"""Spans of a row hidden behind sentinels, and the text that says what was hidden: T5's input and target.

    row      [CLS] the cat meows in the house . [SEP]
    input    [CLS] the <extra_id_0> in the <extra_id_1> . [SEP]
    target   <extra_id_0> cat meows <extra_id_1> house [SEP]

Source: Raffel et al. 2020 (T5), section 3.1.4 and its code. As there, a row has an exact number of hidden tokens and of
spans, and lengths of spans are a composition of the one into the other, all of them equally likely; spans never touch.
In their code a row begins with a span that is shown and ends with one that is hidden; here all places are equally
likely. Special tokens are never hidden: a span that one stands in is two, with a sentinel each.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from electrify.config import MaskingConfig
from electrify.models.inputs import Inputs
from electrify.noise import SPAN_CUTS, SPAN_PLACES, fold
from electrify.objectives.masking import count_choices, draw_distinct, find_candidates
from electrify.objectives.objective import Scheduled
from electrify.objectives.schedules import masking_at


@dataclass(frozen=True, slots=True)
class Spans:
    """Which tokens are hidden."""

    is_hidden: Tensor
    """(B, T) bool."""
    numbers: Tensor
    """Of each hidden token's span within its row, from 0; without meaning elsewhere, (B, T) int64."""
    begins: Tensor
    """Where spans begin, (B, T) bool."""


def draw_spans(
    input_ids: Tensor,
    num_tokens: Tensor,
    keys: Tensor,
    *,
    special_ids: Tensor,
    num_sentinels: int,
    config: MaskingConfig,
) -> Spans:
    """Choose the spans of some rows; the same for a row whatever it is batched with.

    A row has round(hidden tokens / `mean_span_tokens`) spans, at least one, and fewer where they would touch or where
    there might be more of them than sentinels; then they are longer.

    Args:
        input_ids: Original ids, (B, T) int64.
        num_tokens: Real tokens in each row, (B,) int64.
        keys: One key a row, (B,) int64.
        special_ids: Ids that are never hidden, padding among them, (S,) int64.
        num_sentinels: Most spans of a row. In a row that special tokens cut into more pieces than that, what would be
            hidden behind the last sentinel stays as it is.
        config: The share of tokens and the mean length of spans.
    """
    is_candidate = find_candidates(input_ids, special_ids)
    num_candidates = is_candidate.sum(1)
    num_hidden = count_choices(is_candidate, num_tokens, config=config)
    num_shown = num_candidates - num_hidden
    cuts = num_tokens - num_candidates  # special tokens that might stand in a span
    most = torch.minimum(num_hidden, num_shown + 1).minimum((num_sentinels - cuts).clamp(min=1))
    wanted = torch.round(num_hidden.double() / config.mean_span_tokens).long().clamp(min=1)
    num_spans = torch.where(num_hidden > 0, torch.minimum(wanted, most), 0)
    rows, nth = _place(num_hidden, num_shown, num_spans, keys, width=input_ids.shape[1])
    is_hidden = torch.zeros_like(is_candidate)
    first = num_candidates.cumsum(0) - num_candidates
    columns = is_candidate.nonzero()[:, 1]  # of all candidates in row-major order
    is_hidden[rows, columns[first[rows] + nth]] = True
    spans = number_spans(is_hidden)
    has_sentinel = spans.numbers < num_sentinels
    return Spans(is_hidden & has_sentinel, spans.numbers, spans.begins & has_sentinel)


def _place(
    num_hidden: Tensor, num_shown: Tensor, num_spans: Tensor, keys: Tensor, *, width: int
) -> tuple[Tensor, Tensor]:
    """Return which of the tokens that may be hidden are: rows and their numbers among the row's, each (P,) int64."""
    columns = torch.arange(width + 1, device=keys.device)
    # A span ends behind hidden token i if i is a cut: choosing cuts is choosing a composition.
    cut_rows, cuts = draw_distinct(
        columns < (num_hidden - 1)[:, None], (num_spans - 1).clamp(min=0), fold(keys, SPAN_CUTS)
    )
    # Before which shown token a span stands; the last place is behind all. Different places keep spans apart.
    _, places = draw_distinct(columns <= num_shown[:, None], num_spans, fold(keys, SPAN_PLACES))
    begins = torch.zeros(len(keys), width + 1, dtype=torch.long, device=keys.device)
    begins[cut_rows, cuts + 1] = 1
    rows, hidden = (columns < num_hidden[:, None]).nonzero(as_tuple=True)
    first = num_spans.cumsum(0) - num_spans
    return rows, hidden + places[first[rows] + begins.cumsum(1)[rows, hidden]]


def number_spans(is_hidden: Tensor) -> Spans:
    """Take every run of hidden tokens, (B, T) bool, for a span."""
    begins = is_hidden.clone()
    begins[:, 1:] &= ~is_hidden[:, :-1]
    return Spans(is_hidden, (begins.cumsum(1) - 1).clamp(min=0), begins)


@dataclass(frozen=True, slots=True)
class Texts:
    """What is read and what is to be written."""

    shown_ids: Tensor
    """(B, S) int64, padded."""
    num_shown: Tensor
    """Real tokens of each, (B,) int64."""
    shown_columns: Tensor
    """Where each shown token stood in its row, (B, S) int64; 0 for padding."""
    target_ids: Tensor
    """(B, U) int64, padded."""
    num_target: Tensor
    """Real tokens of each, (B,) int64."""

    def shown(self, inputs: Inputs) -> Inputs:
        """Return what is read as an encoder's inputs, for the rows that it was made of; documents stay as they were."""
        width = self.shown_ids.shape[1]
        is_full = bool((self.num_shown == width).all())
        documents = None if inputs.document_ids is None else inputs.document_ids.gather(1, self.shown_columns)
        is_real = torch.arange(width, device=self.num_shown.device) < self.num_shown[:, None]
        return Inputs(self.shown_ids, None if is_full else is_real, document_ids=documents)


def hide(
    input_ids: Tensor,
    num_tokens: Tensor,
    spans: Spans,
    *,
    is_copied: Tensor,
    sentinel_ids: Tensor,
    pad_id: int,
    end_id: int,
) -> Texts:
    """Put a sentinel in the place of each span, and write down what was there.

    Args:
        input_ids: Original ids, (B, T) int64.
        num_tokens: Real tokens in each row, (B,) int64.
        spans: What is hidden.
        is_copied: Rows that are shown whole and whose target is all of them but their first token, (B,) bool.
        sentinel_ids: (N,) int64, in the order of spans.
        pad_id: Id of padding.
        end_id: Id that ends a target; that of a copied row ends with the row's own last token.
    """
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    is_real = columns < num_tokens[:, None]
    copied = is_copied[:, None]
    is_hidden, begins = spans.is_hidden & ~copied, spans.begins & ~copied
    sentinels = sentinel_ids[spans.numbers.clamp(max=len(sentinel_ids) - 1)]
    is_shown = is_real & (~is_hidden | begins)
    shown_ids, num_shown = compact(torch.where(begins, sentinels, input_ids), is_shown, fill=pad_id)
    shown_columns, _ = compact(columns.expand_as(input_ids), is_shown, fill=0)
    # Before each token its sentinel, if it begins a span; behind all of them the end.
    end = torch.full_like(input_ids[:, :1], end_id)
    written = torch.cat([torch.stack([sentinels, input_ids], dim=2).flatten(1), end], dim=1)  # (B, 2T + 1)
    repeated = is_real & (columns > 0) & copied
    is_written = torch.cat([torch.stack([begins, is_hidden | repeated], dim=2).flatten(1), ~copied], dim=1)
    target_ids, num_target = compact(written, is_written, fill=pad_id)
    return Texts(shown_ids, num_shown, shown_columns, target_ids, num_target)


class SpanDrawer(Scheduled):
    """Draws the spans of rows and makes the texts; without parameters.

    Args:
        config: The share of tokens and the mean length of spans.
        special_ids: Ids that are never hidden; padding among them.
        sentinel_ids: Ids of the sentinels, in the order of spans.
        pad_id: Id of padding.
        end_id: Id that ends a target.
    """

    special_ids: Tensor
    sentinel_ids: Tensor
    marker_ids: Tensor
    """Ids in targets that were not hidden: sentinels and the end, (N + 1,) int64."""

    def __init__(
        self,
        config: MaskingConfig,
        *,
        special_ids: tuple[int, ...],
        sentinel_ids: tuple[int, ...],
        pad_id: int,
        end_id: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.pad_id = pad_id
        self.end_id = end_id
        self.register_buffer("special_ids", torch.tensor([*special_ids, *sentinel_ids]), persistent=False)
        self.register_buffer("sentinel_ids", torch.tensor(sentinel_ids), persistent=False)
        self.register_buffer("marker_ids", torch.tensor([*sentinel_ids, end_id]), persistent=False)

    def draw(self, inputs: Inputs, keys: Tensor, *, is_copied: Tensor) -> tuple[Texts, int]:
        """Make the texts of some rows; the same for a row whatever it is batched with.

        Args:
            inputs: Original rows.
            keys: One key a row, (B,) int64; see `electrify.noise.row_keys`.
            is_copied: Rows to be repeated, (B,) bool.

        Returns:
            The texts, and the number of real tokens in the rows.
        """
        ids = inputs.input_ids
        full = torch.full((ids.shape[0],), ids.shape[1], device=ids.device)
        lengths = full if inputs.attention_mask is None else inputs.attention_mask.sum(1)
        spans = draw_spans(
            ids,
            lengths,
            keys,
            special_ids=self.special_ids,
            num_sentinels=len(self.sentinel_ids),
            config=masking_at(self.config, self.progress) if self.training else self.config,
        )
        texts = hide(
            ids,
            lengths,
            spans,
            is_copied=is_copied,
            sentinel_ids=self.sentinel_ids,
            pad_id=self.pad_id,
            end_id=self.end_id,
        )
        return texts, int(lengths.sum())


def compact(values: Tensor, is_kept: Tensor, *, fill: int) -> tuple[Tensor, Tensor]:
    """Move what is kept of each row to its beginning.

    Args:
        values: (B, T) int64.
        is_kept: (B, T) bool.
        fill: Stands behind what is kept, up to the longest row.

    Returns:
        The values, (B, longest) int64, and how many each row has, (B,) int64.
    """
    counts = is_kept.sum(1)
    width = int(counts.max()) if len(counts) else 0
    places = torch.where(is_kept, is_kept.cumsum(1) - 1, width)  # what is not kept goes to one place more
    moved = values.new_full((len(values), width + 1), fill).scatter_(1, places, values)
    return moved[:, :width], counts
