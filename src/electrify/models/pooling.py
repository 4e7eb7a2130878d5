"""One vector for a row from those of its tokens."""

from torch import Tensor


def mean_of_real(hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return the mean over real tokens, (B, H), of (B, T, H); 0 for a row that has none.

    Args:
        hidden: Hidden states.
        attention_mask: Where real tokens are, (B, T) bool; None means everywhere.
    """
    if attention_mask is None:
        return hidden.mean(1)
    is_real = attention_mask[..., None].to(hidden.dtype)
    return (hidden * is_real).sum(1) / is_real.sum(1).clamp(min=1)
