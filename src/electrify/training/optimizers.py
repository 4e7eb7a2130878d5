"""AdamW, with or without bias correction, over groups of parameters.

Torch's fused kernel always corrects the bias of Adam's means. The original ELECTRA code does not (Clark et al. 2020,
`optimization.py`; BERT's before it). The corrected update with learning rate a·√c₂⁻¹·c₁ and epsilon ε·√c₂⁻¹, where
c₁ = 1 − β₁ᵗ and c₂ = 1 − β₂ᵗ, *is* the uncorrected one, so one kernel serves both.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from electrify.config import OptimizerConfig
from electrify.training.split import is_split


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that are updated alike."""

    parameters: dict[str, nn.Parameter]
    learning_rate_scale: float = 1.0
    has_weight_decay: bool = True
    waits: bool = False
    """Whether they stay as they are while the optimizer `is_waiting`, for new parameters beside them to catch up."""


def split_by_decay(
    named: Iterable[tuple[str, nn.Parameter]], *, learning_rate_scale: float = 1.0, waits: bool = False
) -> list[ParameterGroup]:
    """Split parameters into those with weight decay (matrices) and those without (norms and biases: one dimension)."""
    parameters = dict(named)
    matrices = {name: parameter for name, parameter in parameters.items() if parameter.ndim > 1}
    vectors = {name: parameter for name, parameter in parameters.items() if parameter.ndim <= 1}
    groups = [
        ParameterGroup(matrices, learning_rate_scale, waits=waits),
        ParameterGroup(vectors, learning_rate_scale, has_weight_decay=False, waits=waits),
    ]
    return [group for group in groups if group.parameters]


class Adam:
    """AdamW with named state.

    Args:
        groups: Disjoint groups of parameters.
        config: Rates, decays and clipping.

    Attributes:
        is_waiting: Whether groups that wait keep their values; their means go on, so they start with good ones.
    """

    def __init__(self, groups: list[ParameterGroup], config: OptimizerConfig) -> None:
        self._groups = groups
        self._config = config
        self._num_steps = 0
        self.is_waiting = False
        self._named = {name: parameter for group in groups for name, parameter in group.parameters.items()}
        self._adam = torch.optim.AdamW(
            [{"params": list(group.parameters.values())} for group in groups],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            fused=True,
        )

    def step(self, factor: float) -> Tensor:
        """Clip the gradients, update the parameters, and drop the gradients.

        Args:
            factor: Schedule's factor on the peak learning rate, in [0, 1].

        Returns:
            Global norm of the gradients before clipping, scalar; not synchronised.
        """
        norm = self.clip()
        self.update(factor)
        return norm

    def clip(self) -> Tensor:
        """Scale the gradients down to the highest norm allowed; see `step`."""
        norm = torch.nn.utils.clip_grad_norm_(self._named.values(), self._config.max_grad_norm)
        return norm.full_tensor() if is_split(norm) else norm

    def update(self, factor: float) -> None:
        """Update the parameters by their gradients as they are, and drop the gradients; see `step`."""
        self._num_steps += 1
        step_scale, epsilon_scale = self._uncorrected() if not self._config.bias_correction else (1.0, 1.0)
        for group, settings in zip(self._groups, self._adam.param_groups, strict=True):
            scale = 0.0 if group.waits and self.is_waiting else group.learning_rate_scale
            settings["lr"] = self._config.learning_rate * factor * scale * step_scale
            settings["eps"] = self._config.epsilon * epsilon_scale
            settings["weight_decay"] = self._config.weight_decay / step_scale if group.has_weight_decay else 0.0
        self._adam.step()
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Forget the gradients without an update."""
        self._adam.zero_grad(set_to_none=True)

    @property
    def num_updates(self) -> int:
        """Return how many updates were made."""
        return self._num_steps

    def _uncorrected(self) -> tuple[float, float]:
        root_2 = math.sqrt(1 - self._config.beta2**self._num_steps)
        return (1 - self._config.beta1**self._num_steps) / root_2, 1 / root_2

    def tensors(self) -> dict[str, Tensor]:
        """Return the means as `NAME.exp_avg` and `NAME.exp_avg_sq`; empty before the first step."""
        return {
            f"{name}.{key}": self._adam.state[parameter][key]
            for name, parameter in self._named.items()
            for key in ("exp_avg", "exp_avg_sq")
            if key in self._adam.state[parameter]
        }

    def load(self, tensors: dict[str, Tensor], *, num_steps: int) -> None:
        """Continue from saved means.

        Args:
            tensors: What `tensors` returned.
            num_steps: Steps taken until then.

        Raises:
            KeyError: If the mean of a parameter is missing.
        """
        self._num_steps = num_steps
        self._adam.state.clear()
        if num_steps == 0:
            return
        for name, parameter in self._named.items():
            self._adam.state[parameter] = {
                "step": torch.tensor(float(num_steps)),
                "exp_avg": tensors[f"{name}.exp_avg"].clone(),
                "exp_avg_sq": tensors[f"{name}.exp_avg_sq"].clone(),
            }

    def allocate(self) -> dict[str, Tensor]:
        """Return zeros of the shape, device and layout of all that `tensors` returns after a step."""
        return {
            f"{name}.{key}": torch.zeros_like(parameter, requires_grad=False)
            for name, parameter in self._named.items()
            for key in ("exp_avg", "exp_avg_sq")
        }
