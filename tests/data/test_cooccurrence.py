"""Neighbour counts by hand, and vectors that put like with like."""

import numpy as np
import pytest
import torch

from electrify.data import cooccurrence
from electrify.data.cooccurrence import count_neighbours, neighbour_vectors, without_tokens


def test_near_neighbours_count_more_and_none_beyond_five_positions() -> None:
    stream = [0, 1, 1, 2, 2, 2, 3]
    counts = count_neighbours(np.array(stream), vocab_size=5)
    expected = np.zeros((5, 5))
    for i, token in enumerate(stream):
        for j, other in enumerate(stream):
            if 0 < abs(i - j) <= 5:
                expected[token, other] += (6 - abs(i - j)) / 5
    np.testing.assert_allclose(counts.toarray(), expected, rtol=1e-6)


def test_tokens_that_are_left_out_are_nobodys_neighbours() -> None:
    counts = count_neighbours(np.array([0, 1, 2, 1, 0]), vocab_size=3)
    expected = counts.toarray()
    expected[2, :] = expected[:, 2] = 0
    np.testing.assert_array_equal(without_tokens(counts, [2]).toarray(), expected)


def test_counts_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(0, 30, 5000).astype(np.uint16)
    whole = count_neighbours(tokens, vocab_size=40)
    monkeypatch.setattr(cooccurrence, "_BLOCK_TOKENS", 777)
    np.testing.assert_allclose(count_neighbours(tokens, vocab_size=40).toarray(), whole.toarray(), rtol=1e-5)
    pairs = sum((5000 - distance) * (6 - distance) / 5 for distance in range(1, 6))
    assert whole.sum() == pytest.approx(2 * pairs, rel=1e-5)


def test_tokens_used_alike_get_like_vectors() -> None:
    """Tokens 0 and 1 stand between 2 and 3, tokens 4 and 5 between 6 and 7."""
    draw = np.random.default_rng(0)
    phrases = [[2, draw.integers(0, 2), 3] if draw.random() < 0.5 else [6, draw.integers(4, 6), 7] for _ in range(4000)]
    tokens = np.array([[*phrase, 8, 8, 8, 8] for phrase in phrases]).ravel()
    vectors = neighbour_vectors(count_neighbours(tokens, vocab_size=10), size=4)
    assert vectors[0] @ vectors[1] > 0.9
    assert vectors[4] @ vectors[5] > 0.9
    assert vectors[0] @ vectors[4] < 0.5
    torch.testing.assert_close(vectors[9], torch.zeros(4))  # never seen


def test_fewer_tokens_than_the_vectors_are_wide() -> None:
    tokens = np.random.default_rng(0).integers(0, 6, 500)
    vectors = neighbour_vectors(count_neighbours(tokens, vocab_size=6), size=16)
    assert vectors.shape == (6, 16)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    assert not vectors[:, 6:].any()
