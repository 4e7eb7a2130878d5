"""The update rules that an optimizer can follow: how each is built, set for a step, and what it remembers.

AdamW without bias correction: torch's fused kernel always corrects the bias of Adam's means, which the original ELECTRA
code does not do (Clark et al. 2020, `optimization.py`; BERT's before it). The corrected update with learning rate
a·√c₂⁻¹·c₁ and epsilon ε·√c₂⁻¹, where c₁ = 1 − β₁ᵗ and c₂ = 1 − β₂ᵗ, *is* the uncorrected one: one kernel serves both.

Lion (Chen et al. 2023, arXiv 2302.06675) and LAMB (You et al. 2020, arXiv 1904.00962, no bias correction) are those
of the package `pytorch_optimizer`, schedule-free AdamW (Defazio et al. 2024, arXiv 2405.15682) is that of its authors'
package `schedulefree`; each is imported only when it is asked for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from electrify.config import OptimizerConfig
from electrify.errors import ConfigError, ElectrifyError
from electrify.training.muon import Muon


@dataclass(frozen=True, slots=True)
class Rule:
    """One way of updating parameters."""

    means: tuple[str, ...]
    """What is remembered of each parameter, each of its shape."""
    build: Callable[[list[dict[str, Any]], OptimizerConfig], torch.optim.Optimizer]
    """Makes torch's optimizer from its groups."""
    settings: Callable[[OptimizerConfig, float, float, int], dict[str, float]]
    """Given learning rate, weight decay and number of the step, from 1: what stands in a group for this step."""
    has_step: bool = False
    """Whether torch keeps the number of steps with each parameter."""
    numbers: tuple[str, ...] = ()
    """What is remembered of each group beside its settings, one number each."""
    step_key: str | None = None
    """Where a group keeps the number of steps."""
    averages: bool = False
    """Whether the parameters are where gradients are taken, and the optimizer's `eval` puts averages there instead."""

    def state(self, means: dict[str, Tensor], num_steps: int) -> dict[str, Tensor]:
        """Return what the optimizer remembers of a parameter after so many steps."""
        return {"step": torch.tensor(float(num_steps)), **means} if self.has_step else means


def _build_adam(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=True)


def _set_adam(config: OptimizerConfig, rate: float, decay: float, step: int) -> dict[str, float]:
    if config.bias_correction:
        return {"lr": rate, "eps": config.epsilon, "weight_decay": decay}
    root_2 = math.sqrt(1 - config.beta2**step)
    scale = (1 - config.beta1**step) / root_2
    return {"lr": rate * scale, "eps": config.epsilon / root_2, "weight_decay": decay / scale}


def _build_muon(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    return Muon(groups, lr=config.learning_rate, momentum=config.muon_momentum)


def _set_muon(config: OptimizerConfig, rate: float, decay: float, _step: int) -> dict[str, float]:
    return {"lr": rate * config.muon_scale, "weight_decay": decay}


def _build_lion(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    betas = (config.beta1, config.beta2)
    built: torch.optim.Optimizer = _library().Lion(groups, lr=config.learning_rate, betas=betas)
    return built


def _build_lamb(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    # Decay is part of the update whose size the trust ratio sets: "not decoupled" in that package's words. Its default
    # divides the rate by the correction of the first mean, tenfold at first; "adam_debias" leaves the rate as it is.
    betas = (config.beta1, config.beta2)
    built: torch.optim.Optimizer = _library().Lamb(
        groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, weight_decouple=False, adam_debias=True
    )
    return built


def _library() -> Any:
    try:
        import pytorch_optimizer
    except ModuleNotFoundError:
        raise ElectrifyError("pytorch-optimizer is not installed: pip install 'electrify[optimizers]'.") from None
    return pytorch_optimizer


def _build_schedule_free(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    try:
        import schedulefree
    except ModuleNotFoundError:
        raise ElectrifyError("schedulefree is not installed: pip install 'electrify[optimizers]'.") from None
    if config.beta1 == 0:
        raise ConfigError('optimizer.kind = "schedule-free" takes gradients beside the average: beta1 must be above 0.')
    betas = (config.beta1, config.beta2)
    built = schedulefree.AdamWScheduleFree(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon)
    built.train()
    optimizer: torch.optim.Optimizer = built
    return optimizer


def _set_plainly(_config: OptimizerConfig, rate: float, decay: float, _step: int) -> dict[str, float]:
    return {"lr": rate, "weight_decay": decay}


ADAM = Rule(("exp_avg", "exp_avg_sq"), _build_adam, _set_adam, has_step=True)
MUON = Rule(("momentum_buffer",), _build_muon, _set_muon)
LION = Rule(("exp_avg",), _build_lion, _set_plainly)
LAMB = Rule(("exp_avg", "exp_avg_sq"), _build_lamb, _set_plainly)
SCHEDULE_FREE = Rule(
    ("z", "exp_avg_sq"),
    _build_schedule_free,
    _set_plainly,
    numbers=("weight_sum", "lr_max"),
    step_key="k",
    averages=True,
)

RULES: dict[str, tuple[Rule, Rule]] = {
    "adamw": (ADAM, ADAM),
    "muon": (MUON, ADAM),
    "lion": (LION, LION),
    "lamb": (LAMB, LAMB),
    "schedule-free": (SCHEDULE_FREE, SCHEDULE_FREE),
}
"""For each kind of optimizer: the rule of the matrices inside layers, and that of all else."""
