"""Token vectors from which tokens stand near which: a first guess at embeddings, in seconds instead of hours.

Counts of (token, frequent token within a few positions), near ones weighing more, become positive pointwise mutual
information with smoothed context frequencies, and its leading singular vectors, weighted by the root of the singular
values, become the vectors. Source: Levy, Goldberg, Dagan 2015 (TACL 3), sections 2 and 3: on a par with word2vec's. On
small budgets most of the first minutes of pre-training go into learning just this (`docs/log.md`).
"""

from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from electrify.progress import bar

_CONTEXTS = 2048  # the most frequent tokens; more do not help once the encoder is trained (`docs/log.md`)
_WINDOW = 5  # positions to each side; at distance d a pair counts (6 - d) / 5, as word2vec's random window does
_SMOOTHING = 0.75  # power on the contexts' frequencies (Levy et al. 2015, section 3.2)
_BLOCK_TOKENS = 1_000_000


def count_neighbours(tokens: NDArray[np.integer], *, vocab_size: int) -> sparse.csr_array:
    """Count how often each token has each other near it, weighted by distance.

    Args:
        tokens: A stream of ids, (N,).
        vocab_size: V.

    Returns:
        Counts, (V, V) float32, symmetric.
    """
    after = sparse.csr_array((vocab_size, vocab_size), dtype=np.float32)  # column follows row
    with bar("Counting neighbours", total=float(len(tokens))) as progress:
        for start in range(0, len(tokens), _BLOCK_TOKENS):
            end = min(start + _BLOCK_TOKENS, len(tokens))
            pairs = []
            for distance in range(1, _WINDOW + 1):
                right = tokens[start + distance : end + distance].astype(np.int32)
                left = tokens[start : start + len(right)].astype(np.int32)
                pairs.append((left, right, np.full(len(right), (_WINDOW + 1 - distance) / _WINDOW, dtype=np.float32)))
            lefts, rights, weights = (np.concatenate(part) for part in zip(*pairs, strict=True))
            after = after + sparse.csr_array((weights, (lefts, rights)), shape=after.shape)
            progress.advance(float(end - start))
    return (after + after.T).tocsr()


def without_tokens(counts: sparse.csr_array, ids: Collection[int]) -> sparse.csr_array:
    """Return counts in which some tokens have no neighbours and are nobody's, (V, V)."""
    cells = counts.tocoo()
    stays = ~(np.isin(cells.row, list(ids)) | np.isin(cells.col, list(ids)))
    return sparse.csr_array((cells.data[stays], (cells.row[stays], cells.col[stays])), shape=counts.shape)


def neighbour_vectors(counts: sparse.csr_array, *, size: int) -> Tensor:
    """Turn counts into vectors of length 1; a token without counts gets zeros.

    Args:
        counts: From `count_neighbours`, (V, V); its 2,048 most frequent tokens are the contexts.
        size: E; where there are fewer contexts, the rest of each vector is 0.

    Returns:
        (V, E) float32.
    """
    frequencies = np.asarray(counts.sum(axis=0)).ravel()
    contexts = np.argsort(-frequencies, kind="stable")[:_CONTEXTS]
    pairs = torch.from_numpy(counts[:, contexts].toarray())
    total = pairs.sum()
    tokens = pairs.sum(1, keepdim=True).clamp_(min=1)
    smoothed = pairs.sum(0, keepdim=True) ** _SMOOTHING
    smoothed = (smoothed / smoothed.sum() * total).clamp_(min=1e-9)
    information = (pairs.mul_(total).div_(tokens).div_(smoothed)).clamp_(min=1.0).log_()  # positive part only
    squares, directions = torch.linalg.eigh(information.T @ information)  # rising; (C,), (C, C)
    strongest = directions[:, -size:].flip(1)
    singular_values = squares[-size:].flip(0).clamp(min=1e-12).sqrt()
    vectors = information @ strongest / singular_values.sqrt()
    vectors = F.pad(vectors, (0, size - vectors.shape[1]))
    result: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return result
