"""First values of parameters, drawn from torch's global generator: seed it before a network is built."""

from torch import nn


def truncated_normal(module: nn.Linear | nn.Embedding, *, std: float, cutoff: float = 2.0) -> None:
    """Draw a layer's matrix from a normal distribution cut off on both sides; its bias becomes 0.

    Args:
        module: The layer, changed in place.
        std: Standard deviation before the cut.
        cutoff: Where to cut, in standard deviations.
    """
    nn.init.trunc_normal_(module.weight, std=std, a=-cutoff * std, b=cutoff * std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
