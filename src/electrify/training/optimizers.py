"""Optimizers over groups of parameters: clipping, the update by the rules of a kind, and a state with names."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from electrify.config import OptimizerConfig
from electrify.errors import ConfigError
from electrify.training.averages import KEY, Averages
from electrify.training.rules import RULES, Rule
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


class Optimizer:
    """An optimizer with named state.

    Args:
        groups: Disjoint groups of parameters.
        config: Its kind, rates, decays and clipping.
        inner: Names of the parameters inside layers, whose matrices some kinds update by another rule.

    Raises:
        ConfigError: If settings do not fit each other.

    Attributes:
        is_waiting: Whether groups that wait keep their values; their means go on, so they start with good ones.
    """

    def __init__(self, groups: list[ParameterGroup], config: OptimizerConfig, *, inner: Collection[str] = ()) -> None:
        self._config = config
        self._num_steps = 0
        self.is_waiting = False
        self._named = {name: parameter for group in groups for name, parameter in group.parameters.items()}
        for_matrices, for_rest = RULES[config.kind]
        if config.ema_decay and for_rest.averages:
            raise ConfigError(f'optimizer.kind = "{config.kind}" is an average already; leave out optimizer.ema_decay.')
        is_matrix = {name: name in inner and parameter.ndim == 2 for name, parameter in self._named.items()}
        rules = {name: for_matrices if is_matrix[name] else for_rest for name in self._named}
        self._parts = [
            _Part(rule, [_members(group, rules, rule) for group in groups], config)
            for rule in dict.fromkeys(rules.values())
        ]
        self._averages = Averages(self._named, config.ema_decay) if config.ema_decay else None

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
        for part in self._parts:
            part.update(factor, step=self._num_steps, is_waiting=self.is_waiting)
        if self._averages is not None:
            self._averages.update(self._num_steps)
        self.drop_gradients()

    def averaged(self) -> AbstractContextManager[object]:
        """Return a context in which the parameters are their averages, if there are any."""
        stack = ExitStack()
        for part in self._parts:
            if part.rule.averages:
                stack.enter_context(part.averaged())
        if self._averages is not None:
            stack.enter_context(self._averages.in_place())
        return stack

    def drop_gradients(self) -> None:
        """Forget the gradients without an update."""
        for parameter in self._named.values():
            parameter.grad = None

    @property
    def num_updates(self) -> int:
        """Return how many updates were made."""
        return self._num_steps

    def tensors(self) -> dict[str, Tensor]:
        """Return what is remembered, as `NAME.exp_avg` and so on; empty before the first step.

        What is remembered of groups has the name `groups.weight_sum` and so on, one number for each, float64.
        """
        means = {name: tensor for part in self._parts for name, tensor in part.tensors().items()}
        return means if self._averages is None else means | self._averages.tensors()

    def load(self, tensors: dict[str, Tensor], *, num_steps: int) -> None:
        """Continue from a saved state.

        Args:
            tensors: What `tensors` returned.
            num_steps: Steps taken until then.

        Raises:
            KeyError: If a tensor of a parameter is missing.
        """
        self._num_steps = num_steps
        for part in self._parts:
            part.load(tensors, num_steps=num_steps)
        if self._averages is not None:
            self._averages.load(tensors, num_updates=num_steps)

    def allocate(self) -> dict[str, Tensor]:
        """Return zeros of the shape, device and layout of all that `tensors` returns after a step."""
        means = {
            f"{name}.{mean}": torch.zeros_like(parameter, requires_grad=False)
            for part in self._parts
            for name, parameter in part.named.items()
            for mean in (*part.rule.means, *([KEY] if self._averages else []))
        }
        return means | {
            name: torch.zeros_like(tensor) for part in self._parts for name, tensor in part.numbers().items()
        }


def _members(group: ParameterGroup, rules: dict[str, Rule], rule: Rule) -> ParameterGroup:
    """Return the part of a group that follows a rule; it may be empty."""
    mine = {name: parameter for name, parameter in group.parameters.items() if rules[name] is rule}
    return replace(group, parameters=mine)


class _Part:
    """The parameters that follow one rule, and torch's optimizer that updates them."""

    def __init__(self, rule: Rule, groups: list[ParameterGroup], config: OptimizerConfig) -> None:
        self.rule = rule
        self._groups = [group for group in groups if group.parameters]
        self._config = config
        self.named = {name: parameter for group in groups for name, parameter in group.parameters.items()}
        self._optimizer = rule.build([{"params": list(one.parameters.values())} for one in self._groups], config)

    def update(self, factor: float, *, step: int, is_waiting: bool) -> None:
        for group, settings in zip(self._groups, self._optimizer.param_groups, strict=True):
            scale = 0.0 if group.waits and is_waiting else group.learning_rate_scale
            rate = self._config.learning_rate * factor * scale
            decay = self._config.weight_decay if group.has_weight_decay else 0.0
            if self._config.weight_decay_form == "l2":
                _add_penalty(group.parameters.values(), decay)
                decay = 0.0
            settings.update(self.rule.settings(self._config, rate, decay, step))
        self._optimizer.step()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put averages in place of the parameters; bit for bit back again, which `train` after `eval` is not."""
        kept = [parameter.detach().clone() for parameter in self.named.values()]
        optimizer: Any = self._optimizer
        optimizer.eval()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, values in zip(self.named.values(), kept, strict=True):
                    parameter.copy_(values)
            for group in optimizer.param_groups:
                group["train_mode"] = True

    def numbers(self) -> dict[str, Tensor]:
        return {
            f"groups.{key}": torch.tensor([group[key] for group in self._optimizer.param_groups], dtype=torch.float64)
            for key in self.rule.numbers
        }

    def tensors(self) -> dict[str, Tensor]:
        means = {
            f"{name}.{mean}": self._optimizer.state[parameter][mean]
            for name, parameter in self.named.items()
            for mean in self.rule.means
            if mean in self._optimizer.state[parameter]
        }
        return means | self.numbers() if means else means

    def load(self, tensors: dict[str, Tensor], *, num_steps: int) -> None:
        self._optimizer.state.clear()
        for number, group in enumerate(self._optimizer.param_groups):
            for key in self.rule.numbers:
                saved = tensors.get(f"groups.{key}")
                group[key] = self._optimizer.defaults[key] if saved is None else float(saved[number])
            if self.rule.step_key is not None:
                group[self.rule.step_key] = num_steps
        if num_steps == 0:
            return
        for name, parameter in self.named.items():
            means = {mean: tensors[f"{name}.{mean}"].clone() for mean in self.rule.means}
            self._optimizer.state[parameter] = self.rule.state(means, num_steps)


@torch.no_grad()
def _add_penalty(parameters: Iterable[nn.Parameter], decay: float) -> None:
    """Add the gradient of decay / 2 · ‖parameters‖² to theirs."""
    for parameter in parameters:
        if decay and parameter.grad is not None:
            parameter.grad.add_(parameter, alpha=decay)
