"""The softmax over the vocabulary: loss, sample and gradient in one pass over a few positions at a time.

Written plainly, a batch of 1,200 masked positions and a vocabulary of 30,522 makes half a dozen matrices of 150 MB that
live in main memory. Here one block of positions at a time stays in the cache (`vocabulary_pass.py`).
"""

from dataclasses import dataclass

from torch import Tensor

from electrify.objectives.vocabulary_pass import Results, Wishes, run_pass


@dataclass(frozen=True, slots=True)
class Scores:
    """What a network says at some positions; only `loss` carries a gradient."""

    loss: Tensor
    """Sum over positions of the cross-entropy in nats, and of the penalty if there is one; scalar float32."""
    best_ids: Tensor | None
    """The most likely token, (P,) int64; None without figures."""
    entropy: Tensor | None
    """Of the distribution, in nats, (P,) float32; None without figures."""
    losses: Tensor
    """Cross-entropy at each position, (P,) float32; detached."""

    @property
    def cross_entropy(self) -> Tensor:
        """Return the sum over positions of the cross-entropy alone, scalar float32, detached."""
        return self.losses.sum()


@dataclass(frozen=True, slots=True)
class Predictions(Scores):
    """What the generator says at the masked positions, and draws there."""

    sampled_ids: Tensor
    """One draw a position, (P,) int64."""


def score_tokens(
    vectors: Tensor,
    table: Tensor,
    bias: Tensor,
    target_ids: Tensor,
    *,
    z_loss: float = 0.0,
    with_figures: bool = False,
) -> Scores:
    """Compute the loss without samples; see `predict_tokens`."""
    wishes = Wishes(with_figures=with_figures, z_loss=z_loss)
    return _scores(run_pass(vectors, table, bias, target_ids, wishes=wishes), with_figures)


def score_copies(
    vectors: Tensor,
    table: Tensor,
    bias: Tensor,
    target_ids: Tensor,
    *,
    gate: Tensor,
    is_same: Tensor,
    with_figures: bool = False,
) -> Scores:
    """Compute the loss of a network that may copy its input: D · [the input token] + (1 - D) · softmax.

    Source: Clark et al. 2020 (ELECTRA), "Efficiency Analysis", "All-Tokens MLM"; D is the sigmoid of `gate`.

    Args:
        vectors: As for `predict_tokens`, like the three after it.
        table: (V, E).
        bias: (V,).
        target_ids: (P,) int64.
        gate: Logit of D, (P,).
        is_same: Whether the input token is the target, (P,) bool.
        with_figures: As for `predict_tokens`; figures are those of the softmax alone.
    """
    wishes = Wishes(with_figures=with_figures)
    return _scores(run_pass(vectors, table, bias, target_ids, gate=gate, is_same=is_same, wishes=wishes), with_figures)


def predict_tokens(
    vectors: Tensor,
    table: Tensor,
    bias: Tensor,
    target_ids: Tensor,
    sample_keys: Tensor,
    *,
    temperature: float = 1.0,
    exclude_target: bool = False,
    z_loss: float = 0.0,
    with_figures: bool = False,
) -> Predictions:
    """Compute loss and samples; matrix products in autocast's type if it is on, all else in float32.

    Args:
        vectors: What is multiplied with the table, (P, E).
        table: One vector a token, (V, E).
        bias: (V,).
        target_ids: The original tokens, (P,) int64.
        sample_keys: Key of each position's random number, (P,) int64.
        temperature: Of the samples, not of the loss.
        exclude_target: Whether the original can not be drawn.
        z_loss: Weight of the penalty on the squared logarithm of the softmax's denominator, which keeps scores from
            drifting away together (Chowdhery et al. 2022, PaLM, section 5). It costs one product with the table more.
        with_figures: Whether the most likely tokens and the entropy are computed, which takes longer.
    """
    wishes = Wishes(temperature, exclude_target, with_figures, z_loss)
    results = run_pass(vectors, table, bias, target_ids, sample_keys=sample_keys, wishes=wishes)
    scores = _scores(results, with_figures)
    return Predictions(scores.loss, scores.best_ids, scores.entropy, scores.losses, results[1])


def _scores(results: Results, with_figures: bool) -> Scores:
    loss, _, best_ids, entropy, losses = results
    return Scores(loss, best_ids, entropy, losses) if with_figures else Scores(loss, None, None, losses)
