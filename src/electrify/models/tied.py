"""The output matrix of a generator, which is its word embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TiedOutput(nn.Module):
    """Scores of the vocabulary from the word embedding of the body and an own bias.

    It holds no second reference to the matrix: whoever puts another table into the body (to share it with the other
    network, say) changes input and output at once, and the state dict holds the matrix once, as published files do.

    Args:
        vocab_size: V.
    """

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden: Tensor, word_embeddings: nn.Embedding) -> Tensor:
        """Return the scores, (…, V), for vectors of the embedding's size, (…, E)."""
        return F.linear(hidden, word_embeddings.weight, self.bias)
