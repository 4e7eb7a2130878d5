"""What a corrupted batch tells about the two networks, and warnings when one of them does not learn."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

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
    if output.best_ids is None or output.gen_entropy is None:
        raise ValueError("the forward pass was made without figures; pass with_figures=True")
    return {
        "num_best_right": (output.best_ids == output.original_ids).sum()[None],
        "num_sampled_right": (output.sampled_ids == output.original_ids).sum()[None],
        "entropy_sum": output.gen_entropy.double().sum()[None],
        "num_masked": torch.full((1,), output.original_ids.numel(), device=output.original_ids.device),
        "scores": output.disc_logits,
        "labels": output.is_replaced,
    }


def diagnose(figures: Figures) -> dict[str, float]:
    """Return the figures of some forward passes taken together; synchronises with the device.

    Args:
        figures: What `summarise` returned, joined.

    Returns:
        gen_accuracy (share of predictions whose most likely token is the original), gen_sampled_accuracy (share of
        samples equal to the original), gen_entropy (mean, nats), share_replaced (of real tokens), disc_auc,
        disc_average_precision, disc_recall_at_1pct (recall with 1 % of the original tokens flagged).
    """
    num_masked = max(1, sum(figures["num_masked"].tolist()))
    scores, labels = figures["scores"], figures["labels"]
    return {
        "gen_accuracy": sum(figures["num_best_right"].tolist()) / num_masked,
        "gen_sampled_accuracy": sum(figures["num_sampled_right"].tolist()) / num_masked,
        "gen_entropy": sum(figures["entropy_sum"].tolist()) / num_masked,
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


def plateau_loss(token_counts: Tensor, *, mask_token_prob: float) -> float:
    """Return the loss in nats on which a generator rests that learns frequencies and copying, and nothing else.

    Chosen tokens that are not hidden can be copied at no loss, so only the share shown as [MASK] costs the entropy.

    Args:
        token_counts: See `unigram_entropy`.
        mask_token_prob: Share of the chosen tokens that is shown as [MASK].
    """
    return mask_token_prob * unigram_entropy(token_counts)


def find_trouble(gen_loss: float, disc_auc: float, *, plateau: float) -> str | None:
    """Say what is wrong with a run that should have learned something by now; None if nothing is.

    Args:
        gen_loss: Held-out loss of the generator, nats.
        disc_auc: Held-out AUC of the discriminator.
        plateau: See `plateau_loss`.
    """
    if not gen_loss < plateau - 0.1:
        return (
            f"the generator does not learn: its held-out loss, {gen_loss:.2f} nats, is that of guessing by frequency "
            f'({plateau:.2f}). Try a higher optimizer.learning_rate, model.body = "modernbert", no dropout, '
            "a smaller vocabulary or a longer run."
        )
    if disc_auc <= 0.55:  # false for NaN: where nothing was replaced there is nothing to detect
        return (
            f"the discriminator calls everything original: its held-out AUC is {disc_auc:.2f}, chance is 0.5. Try a "
            "lower optimizer.learning_rate, a smaller generator or a larger training.batch_size."
        )
    return None
