"""One vector for a row, and the cropped view of a row: a stretch of it without its ends.

Source of the crop: Meng et al. 2021 (COCO-LM, arXiv 2102.08473), section 3.2: a contiguous part that keeps 90 % of the
sequence. Where it begins is a function of the row's key.
"""

import torch
from torch import Tensor

from electrify.models.inputs import Inputs
from electrify.noise import CROPS, fold, uniform


def pool(hidden: Tensor, attention_mask: Tensor | None, *, how: str) -> Tensor:
    """Return one vector a row, (B, H) float32.

    Args:
        hidden: Hidden states, (B, T, H).
        attention_mask: Real tokens, (B, T) bool; None means all.
        how: "mean" over the real tokens, special ones included, or "cls", the first token's.
    """
    if how == "cls":
        return hidden[:, 0].float()
    if attention_mask is None:
        return hidden.float().mean(1)
    is_real = attention_mask.float()[:, :, None]
    return (hidden.float() * is_real).sum(1) / is_real.sum(1)


def crop(inputs: Inputs, keys: Tensor, *, share: float) -> Inputs:
    """Keep a contiguous part of each row between its first and its last token, which stay; at least one token of it.

    Args:
        inputs: Rows that begin and end with special tokens, (B, T).
        keys: One key a row, (B,) int64.
        share: Of the tokens between the two, rounded to whole tokens.

    Returns:
        Rows as long as the longest that is left, without dropout keys.
    """
    ids = inputs.input_ids
    mask = inputs.attention_mask
    lengths = torch.full_like(keys, ids.shape[1]) if mask is None else mask.sum(1)
    inner = (lengths - 2).clamp(min=0)
    kept = torch.minimum(torch.round(share * inner.double()).long().clamp(min=1), inner)  # (B,)
    start = (uniform(fold(keys, CROPS)) * (inner - kept + 1)).long()
    new_lengths = kept + (lengths - inner)
    columns = torch.arange(int(new_lengths.max()), device=ids.device)
    is_real = columns < new_lengths[:, None]
    last = (new_lengths - 1)[:, None]
    inside = (
        columns.clamp(min=1).minimum(kept[:, None].clamp(min=1)) + start[:, None]
    )  # as [CLS] and [SEP] stand beside
    places = torch.where(columns == 0, 0, torch.where(columns == last, (lengths - 1)[:, None], inside))
    padding = lengths.clamp(max=ids.shape[1] - 1)[:, None]  # a row without padding is a longest one, and gets none

    def take(values: Tensor, where: Tensor) -> Tensor:
        return values.gather(1, where.where(is_real, padding))

    types, documents = inputs.token_type_ids, inputs.document_ids
    return Inputs(
        input_ids=take(ids, places),
        attention_mask=None if bool(is_real.all()) else is_real,
        token_type_ids=None if types is None else take(types, places),
        document_ids=None if documents is None else take(documents, inside),
    )
