"""What objectives have in common that only predict tokens: their output, its figures, the head's loss."""

from dataclasses import dataclass, field

from torch import Tensor

from electrify.models.heads import Generator
from electrify.objectives import diagnostics
from electrify.objectives.objective import Figures
from electrify.objectives.vocabulary import Scores, score_tokens


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """Loss and what figures are made of; all but `loss` is detached."""

    loss: Tensor
    """As a part of the whole batch's, scalar."""
    sums: dict[str, Tensor]
    """Sum over the predictions of the cross-entropy in nats, for each loss by its name, scalars float32."""
    target_ids: dict[str, Tensor]
    """What should have been predicted, for each kind of prediction by its name, (P,) int64."""
    scores: dict[str, Scores]
    """What was predicted, by the same names."""
    more: Figures = field(default_factory=dict)
    """Further figures."""

    def figures(self) -> Figures:
        """Reduce the predictions to counts.

        Raises:
            ValueError: If the forward pass was made without figures.
        """
        figures = dict(self.more)
        for name, scores in self.scores.items():
            figures |= diagnostics.summarise_tokens(name, self.target_ids[name], scores.best_ids, scores.entropy)
        return figures


def score_hidden(
    network: Generator, hidden: Tensor, target_ids: Tensor, *, z_loss: float = 0.0, with_figures: bool
) -> Scores:
    """Return a network's loss at some positions.

    Args:
        network: With a head over the vocabulary.
        hidden: Its hidden states there, (P, H).
        target_ids: What should be predicted, (P,) int64.
        z_loss: Weight of the penalty on the softmax's denominator; see `vocabulary.predict_tokens`.
        with_figures: Whether the most likely tokens and the entropy are computed.
    """
    return score_tokens(
        network.vectors(hidden),
        network.body.word_embeddings.weight,
        network.output_bias,
        target_ids,
        z_loss=z_loss,
        with_figures=with_figures,
    )
