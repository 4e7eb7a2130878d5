"""Token vectors from which tokens stand near which: a first guess at embeddings, in seconds instead of hours.

Counts of (token, token within a few positions), near ones weighing more, become positive pointwise mutual information
with smoothed context frequencies, and its leading singular vectors, weighted by the root of the singular values, become
the vectors. Source: Levy, Goldberg, Dagan 2015 (TACL 3), sections 2 and 3: such vectors are on a par with word2vec's.
On small budgets most of the first minutes of pre-training go into learning just this (`docs/log.md`). All tokens are
contexts: rare pairs tell most about rare words (`docs/log.md`).
"""

from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from electrify.progress import bar

_WINDOW = 5  # positions to each side; at distance d a pair counts (6 - d) / 5, as word2vec's random window does
_SMOOTHING = 0.75  # power on the contexts' frequencies (Levy et al. 2015, section 3.2)
_BLOCK_TOKENS = 1_000_000
_OVERSAMPLING = 32  # columns more than wanted, which the random start of the decomposition needs
_POWER_ITERATIONS = 4


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
        counts: From `count_neighbours`, (V, V).
        size: E; where there are fewer tokens, the rest of each vector is 0.

    Returns:
        (V, E) float32.
    """
    information = _positive_information(counts)
    rows, columns = information.shape
    rank = min(size + _OVERSAMPLING, rows, columns)
    basis = np.random.default_rng(0).standard_normal((columns, rank)).astype(np.float32)
    with bar("Vectors of neighbours", total=float(_POWER_ITERATIONS + 1)) as progress:
        for _ in range(_POWER_ITERATIONS):  # Halko, Martinsson, Tropp 2011 (SIAM Review 53), algorithm 4.4
            basis = _orthonormal(information.T @ _orthonormal(information @ basis))
            progress.advance(1.0)
        left, singular_values, _ = torch.linalg.svd(torch.from_numpy(information @ basis), full_matrices=False)
        progress.advance(1.0)
    vectors = left[:, :size] * singular_values[:size].sqrt()
    vectors = F.pad(vectors, (0, size - vectors.shape[1]))
    result: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return result


def _positive_information(counts: sparse.csr_array) -> sparse.csr_array:
    """Return log(p(a, b) / (p(a) p(b))) where it is above 0, the contexts' frequencies smoothed."""
    cells = counts.tocoo()
    total = counts.sum(dtype=np.float64)
    tokens = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    contexts = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel() ** _SMOOTHING
    contexts *= total / max(contexts.sum(), 1e-9)
    expected = tokens[cells.row] * contexts[cells.col]
    information = np.log(np.maximum(cells.data * total / np.maximum(expected, 1e-9), 1.0)).astype(np.float32)
    result = sparse.csr_array((information, (cells.row, cells.col)), shape=counts.shape)
    result.eliminate_zeros()
    return result


def _orthonormal(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = torch.linalg.qr(torch.from_numpy(matrix)).Q.numpy()
    return result
