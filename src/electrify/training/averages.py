"""Moving averages of weights: smoother than the last step's, at the cost of one copy.

Each update moves the average by 1 − min(decay, (1 + t) / (10 + t)) of the way to the weights after update t, so that a
short run does not keep its first values (as `num_updates` of TensorFlow's ExponentialMovingAverage).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

KEY = "average"


class Averages:
    """Averages of some parameters.

    Args:
        named: The parameters by name.
        decay: Highest share of an average that an update keeps, in (0, 1).
    """

    def __init__(self, named: Mapping[str, nn.Parameter], decay: float) -> None:
        self._named = named
        self._decay = decay
        self._averages: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Take in the parameters after so many updates, 1 or more."""
        if not self._averages:
            self._averages = {name: parameter.detach().clone() for name, parameter in self._named.items()}
            return
        keep = min(self._decay, (1 + num_updates) / (10 + num_updates))
        torch._foreach_lerp_(list(self._averages.values()), list(self._named.values()), 1 - keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages where the parameters are, for a while."""
        kept = {name: parameter.detach().clone() for name, parameter in self._named.items() if name in self._averages}
        self._put(self._averages)
        try:
            yield
        finally:
            self._put(kept)

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages as `NAME.average`; empty before the first update."""
        return {f"{name}.{KEY}": tensor for name, tensor in self._averages.items()}

    def load(self, tensors: Mapping[str, Tensor], *, num_updates: int) -> None:
        """Continue from saved averages; KeyError if one is missing."""
        self._averages = {name: tensors[f"{name}.{KEY}"].clone() for name in self._named} if num_updates else {}

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._named[name].copy_(value)
