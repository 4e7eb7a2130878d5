"""How hard each token of the vocabulary is to predict, from the losses of the run so far.

Positions whose token is hard can then be masked more often. What is known of a token is a mean of the losses at
positions where it was hidden, of about the last thousand steps. Losses are added up as whole numbers, so that the sum
does not depend on their order, and the state is saved with the run's parameters: a resumed run masks the same tokens.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from electrify.objectives.objective import Scheduled

_KEEP = 0.999  # of what is known, in each step
_UNIT = 2.0**-20  # nats; 63 bits hold the sum of a step of 2^36 losses of 128 nats
_PRIOR = 1.0  # times that every token counts as seen at the mean loss


class Difficulty(Scheduled):
    """Mean losses of tokens, and the weights with which tokens are chosen.

    Args:
        vocab_size: V.
        share: How much of a weight follows the loss, in (0, 1]; the rest is the same for all tokens.
    """

    pending: Tensor

    def __init__(self, vocab_size: int, share: float) -> None:
        super().__init__()
        self._share = share
        # A parameter that nothing trains: it is saved, and put back, as the others are.
        self.tally = nn.Parameter(torch.zeros(2, vocab_size), requires_grad=False)  # nats; times; both fade
        self.register_buffer("pending", torch.zeros(2, vocab_size, dtype=torch.int64), persistent=False)

    def weights(self) -> Tensor:
        """Return how much each token is preferred, (V,) float64; 1 on average over what was chosen, and never 0."""
        nats, times = self.tally.detach().double()
        mean = nats.sum() / times.sum().clamp(min=1)
        relative = (nats + _PRIOR * mean) / ((times + _PRIOR) * mean.clamp(min=1e-6))
        relative = torch.where(mean > 0, relative, 1.0)
        return (1 - self._share) + self._share * relative.clamp(min=1e-3)

    @torch.no_grad()
    def observe(self, ids: Tensor, losses: Tensor) -> None:
        """Note losses; they count when the step ends.

        Args:
            ids: Tokens that were predicted, (P,) int64.
            losses: Cross-entropies in nats, (P,) float32. What is no finite number is left out.
        """
        is_finite = torch.isfinite(losses)
        ids, units = ids[is_finite], (losses[is_finite].double() / _UNIT).round().long()
        self.pending[0].index_add_(0, ids, units)
        self.pending[1].index_add_(0, ids, torch.ones_like(ids))

    @torch.no_grad()
    def end_step(self, add: Callable[[Tensor], Tensor] | None) -> None:
        """Take in the losses of a step over all processes, or forget them."""
        if add is not None:
            scale = self.tally.new_tensor([[_UNIT], [1.0]])
            self.tally.mul_(_KEEP).add_(add(self.pending) * scale)
        self.pending.zero_()
