"""Gradient-disentangled embeddings: one network's word table plus a difference, without a gradient to the table.

Source: He et al. 2021 (DeBERTaV3, arXiv 2111.09543), section 3.2: with a shared table the two losses pull each vector
in two directions, as the generator wants like tokens near and the discriminator wants them apart. Here the
discriminator reads stop-gradient(the generator's table) + a difference that starts at zero and that it alone trains.
Their code does the same with the tables of positions; here only words are shared.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DisentangledEmbedding(nn.Module):
    """A word table that follows another one; in a state dict it stands as the plain table that it amounts to.

    Args:
        source: The table that is followed; its values are read, never trained from here. It stays another module's.
        padding_idx: Id whose difference gets no gradient from reading it.

    Attributes:
        delta: The difference, (V, E).
    """

    def __init__(self, source: nn.Embedding, *, padding_idx: int | None) -> None:
        super().__init__()
        self._source = [source]  # in a list, so that its parameters are not this module's too
        self.padding_idx = padding_idx
        self.delta = nn.Parameter(torch.zeros_like(source.weight))

    @property
    def weight(self) -> Tensor:
        """The table, (V, E); only the difference gets its gradient."""
        return self._source[0].weight.detach() + self.delta

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of some ids, (…, E)."""
        return F.embedding(ids, self.weight, self.padding_idx)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.weight if keep_vars else self.weight.detach()
