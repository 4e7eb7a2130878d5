"""Dropout whose choices are a function of the row's key and the place, not of a generator's state.

A row loses the same elements whichever process, device or micro-batch works on it, and a resumed run repeats them.
"""

import torch
from torch import Tensor, nn

from electrify.kernels import dropout as native
from electrify.noise import LAYERS, fold, keep_mask


class Dropout(nn.Module):
    """Drop elements at one place of a network.

    `train()` and `eval()` make no difference: dropout happens exactly when keys are given.

    Args:
        p: Share that is dropped, in [0, 1).
        site: Number of the place. Two places that see the same keys must have different numbers.
    """

    def __init__(self, p: float, site: int) -> None:
        super().__init__()
        self.p = p
        self.site = site

    def is_active(self, keys: Tensor | None) -> bool:
        """Return whether these keys make this place drop anything."""
        return keys is not None and self.p > 0

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """Return x with a share p of its elements set to 0 and the others divided by 1 − p.

        Args:
            x: (B, …).
            keys: One key a row, (B,) int64; None returns x itself.
        """
        if keys is None or self.p == 0:
            return x
        if native.serves(x):
            return native.dropout(x, keys, drop_prob=self.p, site=self.site)
        kept = keep_mask(keys, x.shape, drop_prob=self.p, site=self.site)
        return torch.where(kept, x * (1 / (1 - self.p)), 0)

    def extra_repr(self) -> str:
        """Return what `print(module)` shows between the brackets."""
        return f"p={self.p}, site={self.site}"


def layer_keys(keys: Tensor | None, num_layers: int) -> list[Tensor] | list[None]:
    """Derive the keys of each layer, so that all layers can use the same few site numbers.

    With the layer in the keys and not in the module, layers differ in nothing but their parameters, and one compiled
    layer serves for all.

    Args:
        keys: Keys of the rows, (B,) int64, or None for no dropout.
        num_layers: L.

    Returns:
        L times (B,) int64, or L times None.
    """
    if keys is None:
        return [None] * num_layers
    numbers = torch.arange(num_layers, device=keys.device)[:, None]
    return list(fold(fold(keys, LAYERS), numbers).unbind(0))
