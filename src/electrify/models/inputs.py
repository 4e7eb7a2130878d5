"""What a network reads: token ids and, where they matter, padding, segments, documents, direction, dropout keys."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Inputs:
    """One batch of rows, as every network of this package takes it.

    Leave a field None whenever it says nothing (full rows, one segment, one document): the work for it is then saved.

    Raises:
        ValueError: If `input_ids` is not (B, T), or another field does not have its rows and columns.
    """

    input_ids: Tensor
    """(B, T) int64."""
    attention_mask: Tensor | None = None
    """Where real tokens are, (B, T) bool; None means everywhere. Padding is attended by nobody."""
    token_type_ids: Tensor | None = None
    """Segment 0 or 1, (B, T) int64; None means 0. ModernBERT has no segments and does not read it."""
    document_ids: Tensor | None = None
    """Number of the document that each token belongs to, (B, T) integers; attention stays within equal numbers."""
    dropout_keys: Tensor | None = None
    """One key a row, (B,) int64, from `electrify.noise`; None means no dropout, whatever `train()` and `eval()` say."""
    causal: Tensor | bool = False
    """Whether tokens look only at themselves and what stands before them; (B,) bool to say so for each row."""
    keeps_padding: bool = False
    """Whether layers see padding where compiled kernels would leave it out: for whoever reads what layers hand on."""

    def __post_init__(self) -> None:
        if self.input_ids.dim() != 2:
            raise ValueError(f"input_ids must be (rows, tokens), got shape {tuple(self.input_ids.shape)}")
        for name in ("attention_mask", "token_type_ids", "document_ids"):
            value: Tensor | None = getattr(self, name)
            if value is not None and value.shape != self.input_ids.shape:
                raise ValueError(f"{name} is {tuple(value.shape)}, but input_ids is {tuple(self.input_ids.shape)}")
        if isinstance(self.causal, Tensor) and self.causal.shape != self.input_ids.shape[:1]:
            raise ValueError(f"causal is {tuple(self.causal.shape)} for {len(self.input_ids)} rows")
        if self.dropout_keys is not None and self.dropout_keys.shape != self.input_ids.shape[:1]:
            raise ValueError(f"dropout_keys is {tuple(self.dropout_keys.shape)} for {len(self.input_ids)} rows")

    def attention_bias(self, dtype: torch.dtype, *, window: int | None = None) -> Tensor | None:
        """Return what to add to the attention scores so that nobody looks where they must not.

        A token that may look nowhere (padding between documents) looks everywhere alike, so no NaN appears.

        Args:
            dtype: Type of the scores.
            window: How many positions to each side a token may look; None means all. In causal rows it looks at so
                many in all, itself among them, as Transformers' ModernBERT decoder.

        Returns:
            0 where a query (third dimension) may look at a key (fourth), the lowest number of `dtype` elsewhere;
            (B or 1, 1, T or 1, T). None if everyone may look everywhere.
        """
        allowed = self._allowed(window)
        if allowed is None:
            return None
        return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)

    def segments(self) -> Tensor | None:
        """Return the numbers within which attention stays, (B, T) int32: documents, and -1 for all padding.

        None if everyone may look everywhere. Padding looks at padding, so no token looks nowhere.
        """
        if self.attention_mask is None:
            return None if self.document_ids is None else self.document_ids.int().contiguous()
        numbers = self.attention_mask.int() if self.document_ids is None else self.document_ids.int()
        return numbers.masked_fill(~self.attention_mask.bool(), -1).contiguous()

    def is_masked(self, window: int | None) -> bool:
        """Return whether somebody may not look everywhere."""
        return self.attention_mask is not None or self.document_ids is not None or window is not None

    @property
    def is_causal(self) -> bool:
        """Return whether in some row tokens may not look at what follows them."""
        return self.causal is not False

    def causal_rows(self) -> Tensor:
        """Return in which rows tokens may not look at what follows them, (B,) uint8."""
        if isinstance(self.causal, Tensor):
            return self.causal.to(torch.uint8).contiguous()
        return torch.full(self.input_ids.shape[:1], int(self.causal), dtype=torch.uint8, device=self.input_ids.device)

    def borders(self) -> Tensor:
        """Return where runs of tokens with one segment begin, counted through all rows, and B·T; (runs + 1,) int32."""
        rows, tokens = self.input_ids.shape
        begins = torch.zeros(rows, tokens, dtype=torch.bool, device=self.input_ids.device)
        begins[:, 0] = True
        segments = self.segments()
        if segments is not None:
            begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
        ends = begins.new_ones(1)
        return torch.cat([begins.flatten(), ends]).nonzero().flatten().int()

    def _allowed(self, window: int | None) -> Tensor | None:
        parts = []
        if self.attention_mask is not None:
            parts.append(self.attention_mask[:, None, None, :].bool())
        if self.document_ids is not None:
            parts.append(self.document_ids[:, None, :, None] == self.document_ids[:, None, None, :])
        num_tokens = self.input_ids.shape[1]
        reaches_all = window is None or num_tokens - 1 <= window
        if not reaches_all or self.is_causal:
            positions = torch.arange(num_tokens, device=self.input_ids.device)
            distance = positions[:, None] - positions  # (T, T): how far before the query the key stands
        if window is not None and not reaches_all:
            parts.append((distance.abs() <= window)[None, None])
        if self.is_causal:
            reach = num_tokens if window is None else max(window, 1)
            sees = ((distance >= 0) & (distance < reach))[None]
            if isinstance(self.causal, Tensor):
                sees = sees | ~self.causal[:, None, None]
            parts.append(sees[:, None])
        if not parts:
            return None
        allowed = parts[0]
        for part in parts[1:]:
            allowed = allowed & part
        return allowed
