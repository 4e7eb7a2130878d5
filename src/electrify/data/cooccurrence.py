"""Token vectors from which tokens stand near which: a first guess at embeddings, in seconds instead of hours.

Counts of (token, frequent token within a few positions) become positive pointwise mutual information with smoothed
context frequencies, and its leading singular vectors, weighted by the root of the singular values, become the vectors.
Source: Levy, Goldberg, Dagan 2015 (TACL 3), sections 2 and 3: such vectors are on a par with word2vec's. On small
budgets most of the first minutes of pre-training go into learning just this (`docs/log.md`).
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from electrify.progress import bar

_CONTEXTS = 2048  # the most frequent tokens, as contexts
_WINDOW = 4  # positions to each side
_SMOOTHING = 0.75  # power on the contexts' frequencies (Levy et al. 2015, section 3.2)
_BLOCK_TOKENS = 2_000_000


def count_neighbours(tokens: NDArray[np.integer], *, vocab_size: int) -> NDArray[np.float32]:
    """Count how often each token has each frequent token near it.

    Args:
        tokens: A stream of ids, (N,).
        vocab_size: V.

    Returns:
        Counts, (V, C): C is 2,048 or the size of a smaller vocabulary; contexts by falling frequency.
    """
    frequencies = np.bincount(tokens, minlength=vocab_size)
    num_contexts = min(_CONTEXTS, vocab_size)
    context_of = np.full(vocab_size, -1, dtype=np.int64)
    context_of[np.argsort(-frequencies, kind="stable")[:num_contexts]] = np.arange(num_contexts)
    counts = np.zeros(vocab_size * num_contexts, dtype=np.float32)
    with bar("Counting neighbours", total=float(len(tokens))) as progress:
        for start in range(0, len(tokens), _BLOCK_TOKENS):
            left = tokens[start : start + _BLOCK_TOKENS].astype(np.int64)
            for distance in range(1, _WINDOW + 1):
                right = tokens[start + distance : start + distance + _BLOCK_TOKENS].astype(np.int64)
                for near, far in ((left[: len(right)], right), (right, left[: len(right)])):
                    context = context_of[far]
                    is_frequent = context >= 0
                    cells = near[is_frequent] * num_contexts + context[is_frequent]
                    counts += np.bincount(cells, minlength=len(counts))
            progress.advance(float(len(left)))
    return counts.reshape(vocab_size, num_contexts)


def neighbour_vectors(counts: NDArray[np.float32], *, size: int) -> Tensor:
    """Turn counts into vectors of length 1; a token without counts gets zeros.

    Args:
        counts: From `count_neighbours`, (V, C).
        size: E; where there are fewer contexts, the rest of each vector is 0.

    Returns:
        (V, E) float32.
    """
    pairs = torch.from_numpy(counts).clone()
    total = pairs.sum()
    tokens = pairs.sum(1, keepdim=True).clamp_(min=1)
    contexts = pairs.sum(0, keepdim=True) ** _SMOOTHING
    contexts = (contexts / contexts.sum() * total).clamp_(min=1e-9)
    information = (pairs.mul_(total).div_(tokens).div_(contexts)).clamp_(min=1.0).log_()  # positive part only
    squares, directions = torch.linalg.eigh(information.T @ information)  # rising; (C,), (C, C)
    strongest = directions[:, -size:].flip(1)
    singular_values = squares[-size:].flip(0).clamp(min=1e-12).sqrt()
    vectors = information @ strongest / singular_values.sqrt()
    vectors = F.pad(vectors, (0, size - vectors.shape[1]))
    result: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return result
