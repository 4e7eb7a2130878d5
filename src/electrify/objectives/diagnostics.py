"""What a forward pass tells about the networks, and warnings when one of them does not learn."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from electrify.config import MaskingConfig
from electrify.objectives.objective import Figures
from electrify.objectives.ranking import auc, average_precision, recall_at_false_positives

if TYPE_CHECKING:
    from electrify.objectives.rtd import RTDOutput


@torch.no_grad()
def summarise(output: "RTDOutput") -> Figures:
    """Reduce a forward pass to counts, and the discriminator's scores and labels at the real tokens.

    Raises:
        ValueError: If the forward pass was made without figures.
    """
    return {
        **summarise_tokens("gen", output.original_ids, output.best_ids, output.gen_entropy),
        "gen_num_sampled_right": (output.sampled_ids == output.original_ids).sum()[None],
        "scores": output.disc_logits,
        "labels": output.is_replaced,
    }


@torch.no_grad()
def summarise_tokens(name: str, target_ids: Tensor, best_ids: Tensor | None, entropy: Tensor | None) -> Figures:
    """Reduce predictions of tokens to counts.

    Args:
        name: Of the predictions; stands before each figure's.
        target_ids: What should have been predicted, (P,) int64.
        best_ids: What was held most likely, (P,) int64.
        entropy: Of the distributions, in nats, (P,).

    Raises:
        ValueError: If the forward pass was made without figures.
    """
    if best_ids is None or entropy is None:
        raise ValueError("the forward pass was made without figures; pass with_figures=True")
    return {
        f"{name}_num_right": (best_ids == target_ids).sum()[None],
        f"{name}_num_predicted": torch.full((1,), target_ids.numel(), device=target_ids.device),
        f"{name}_entropy_sum": entropy.double().sum()[None],
    }


def diagnose_tokens(name: str, figures: Figures) -> dict[str, float]:
    """Return `name`_accuracy (share of most likely tokens that are right) and `name`_entropy (mean, nats).

    Neither, if nothing was predicted.
    """
    num_predicted = int(figures[f"{name}_num_predicted"].sum())
    if not num_predicted:
        return {}
    return {
        f"{name}_accuracy": int(figures[f"{name}_num_right"].sum()) / num_predicted,
        f"{name}_entropy": float(figures[f"{name}_entropy_sum"].sum()) / num_predicted,
    }


def diagnose(figures: Figures) -> dict[str, float]:
    """Return the figures of some forward passes taken together; synchronises with the device.

    Args:
        figures: What `summarise` returned, joined.

    Returns:
        gen_accuracy (share of predictions whose most likely token is the original), gen_entropy (mean, nats),
        gen_sampled_accuracy (share of samples equal to the original), share_replaced (of judged tokens), disc_auc,
        disc_average_precision, disc_recall_at_1pct (recall with 1 % of the original tokens flagged). Without those of
        predictions, if there was none.
    """
    num_masked, num_right = (int(figures[f"gen_num_{which}"].sum()) for which in ("predicted", "sampled_right"))
    scores, labels = figures["scores"], figures["labels"]
    return {
        **diagnose_tokens("gen", figures),
        **({"gen_sampled_accuracy": num_right / num_masked} if num_masked else {}),
        "share_replaced": float(labels.double().mean()),
        "disc_auc": auc(scores, labels),
        "disc_average_precision": average_precision(scores, labels),
        "disc_recall_at_1pct": recall_at_false_positives(scores, labels),
    }


def unigram_entropy(token_counts: Tensor) -> float:
    """Return the loss in nats of a generator that knows only how frequent each token is.

    Args:
        token_counts: How often each token that can be masked occurs, (V,).
    """
    shares = token_counts[token_counts > 0].double() / token_counts.sum()
    return float(-(shares * shares.log()).sum())


def plateau_loss(token_counts: Tensor, *, masking: MaskingConfig) -> float:
    """Return the loss in nats on which a network rests that learns frequencies and copying, and nothing else.

    Where [MASK] is shown, it costs the entropy of the frequencies. Chosen tokens that are kept can be copied at no loss
    if no others are random. If some are, what is shown is the original with the probability k / (k + r), of the shares
    kept and random; the rest is guessed by frequency.

    Args:
        token_counts: See `unigram_entropy`.
        masking: What is shown at the chosen positions.
    """
    random = masking.random_token_prob
    kept = max(0.0, 1 - masking.mask_token_prob - random)
    doubt = sum(-share * math.log(share / (kept + random)) for share in (kept, random) if share > 0)
    return (masking.mask_token_prob + random) * unigram_entropy(token_counts) + doubt


def find_plateau(name: str, loss: float | None, *, plateau: float, has_body: bool = True) -> str | None:
    """Say that a network that predicts tokens has learned nothing but frequencies; None if it has learned more.

    Args:
        name: Of the network.
        loss: Held-out, in nats; None if it has no terms there, which tells nothing.
        plateau: See `plateau_loss`.
        has_body: Whether model.body says what kind of network it is.
    """
    if loss is None or loss < plateau - 0.1:
        return None
    other_body = 'model.body = "modernbert", ' if has_body else ""
    return (
        f"the {name} does not learn: its held-out loss, {loss:.2f} nats, is that of guessing by frequency "
        f"({plateau:.2f}). Try a higher optimizer.learning_rate, {other_body}no dropout, "
        "a smaller vocabulary or a longer run."
    )


def find_blindness(disc_auc: float) -> str | None:
    """Say that a discriminator tells nothing apart; None if it does.

    Args:
        disc_auc: Held-out AUC; NaN where nothing was replaced, as there is nothing to detect then.
    """
    if not disc_auc <= 0.55:
        return None
    return (
        f"the discriminator calls everything original: its held-out AUC is {disc_auc:.2f}, chance is 0.5. Try a "
        "lower optimizer.learning_rate, a smaller generator or a larger training.batch_size."
    )
