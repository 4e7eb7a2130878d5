"""What of a run is saved, and how it is put back."""

from typing import Any

import torch

from electrify.errors import CheckpointError
from electrify.objectives.objective import AnyObjective
from electrify.training.checkpoints import State
from electrify.training.optimizers import Adam


def to_state(step: int, objective: AnyObjective, optimizer: Adam, counters: dict[str, Any]) -> State:
    """Gather a run's state: every parameter once, the optimizer's means, and counters that JSON holds exactly."""
    return State(step, dict(objective.named_parameters()), optimizer.tensors(), counters)


@torch.no_grad()
def from_state(state: State, objective: AnyObjective, optimizer: Adam) -> None:
    """Put a saved state into the networks and the optimizer.

    Raises:
        CheckpointError: If it is of other networks.
    """
    try:
        for name, parameter in objective.named_parameters():
            parameter.copy_(state.networks[name])
            device = parameter.device
        optimizer.load({name: tensor.to(device) for name, tensor in state.optimizer.items()}, num_steps=state.step)
    except (KeyError, RuntimeError) as problem:
        raise CheckpointError(f"The saved state does not fit these networks ({problem}).") from None
