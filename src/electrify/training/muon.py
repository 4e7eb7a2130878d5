"""Muon: momentum made orthogonal, for the matrices inside layers.

Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the learning rate scaled as in Liu et al. 2025
(arXiv 2502.16982, section 2.2) so that an update is as large as AdamW's and takes its rate and decay. The same update
as `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, but for two things: matrices of one shape are worked on together,
which pays in small networks, and what is spread over processes is put together once a step, not in each product.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from electrify.training.parallel import spread_like, whole

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that brings singular values near 1 (Jordan et al. 2024)
_ITERATIONS = 5
_RMS_OF_ADAMW = 0.2  # of its updates as found in practice (Liu et al. 2025, section 2.2)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring all singular values near 1, roughly into [0.7, 1.2], and keep the singular vectors.

    Args:
        matrices: (N, A, B) float32.

    Returns:
        (N, A, B) bfloat16. A matrix of zeros stays one.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    found = matrices.bfloat16()
    found = found.mT.contiguous() if is_tall else found  # the smaller side's products are the cheaper ones
    found = found / found.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(_ITERATIONS):
        gram = torch.bmm(found, found.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        found = torch.baddbmm(found, polynomial, found, beta=a)
    return found.mT if is_tall else found


class Muon(Optimizer):
    """Muon over matrices.

    Args:
        groups: As any optimizer of torch's takes them; parameters (A, B).
        lr: Learning rate as AdamW's.
        momentum: Decay of the mean of gradients, which is looked ahead of (Nesterov).
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the parameters that have gradients."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for parameters in by_shape.values():
                self._update(parameters, **{key: group[key] for key in ("lr", "momentum", "weight_decay")})

    def _update(self, parameters: list[Tensor], *, lr: float, momentum: float, weight_decay: float) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        means = [self._mean(parameter) for parameter in parameters]
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, means, momentum)
        updates = orthogonalize(torch.stack([whole(one) for one in ahead])).float()
        size = lr * _RMS_OF_ADAMW * math.sqrt(max(parameters[0].shape))
        torch._foreach_mul_(parameters, 1 - lr * weight_decay)
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.add_(spread_like(parameter, update), alpha=-size)

    def _mean(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean: Tensor = state["momentum_buffer"]
        return mean
