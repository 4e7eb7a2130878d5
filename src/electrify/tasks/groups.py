"""Which parameters learn, and how fast, by their depth in the network.

Source: Clark et al. 2020 (ELECTRA), appendix B: the head learns at the full rate, each layer below at `decay` times the
one above it, the embeddings as the lowest layer. Their code leaves one place between head and top layer empty, so that
every layer has one decay more ("code").
"""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from electrify.errors import ConfigError
from electrify.models.heads import TaskNetwork
from electrify.training.optimizers import ParameterGroup, split_by_decay

_ABOVE_ALL_LAYERS = ("final_norm.", "final_layer_norm.")


def freeze(networks: Sequence[TaskNetwork], num_layers: int) -> None:
    """Keep the embeddings and the lowest layers as they are; 0 keeps nothing.

    Raises:
        ConfigError: If the body has fewer layers.
    """
    blocks = networks[0].body.blocks
    if num_layers > len(blocks):
        raise ConfigError(f"frozen_layers = {num_layers}, but the model has {len(blocks)} layers.")
    if num_layers == 0:
        return
    for name, parameter in networks[0].body.named_parameters():
        depth = _depths(networks[0]).get(id(parameter), 0)
        if depth <= num_layers and not _is_above(name):
            parameter.requires_grad_(False)


def layerwise_groups(
    networks: Sequence[TaskNetwork], decay: float, *, form: Literal["paper", "code"] = "paper"
) -> list[ParameterGroup]:
    """Group the parameters that learn by depth, lowest first.

    Args:
        networks: One for each task; they share their body.
        decay: Factor from each layer to the one below it.
        form: Whether the top layer has one decay or two.
    """
    num_layers = len(networks[0].body.blocks)
    depth_of = _depths(networks[0])
    body = {id(parameter) for parameter in networks[0].body.parameters()}
    at_depth: dict[int, dict[str, nn.Parameter]] = {}
    seen: set[int] = set()
    for number, network in enumerate(networks):
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            above_all = num_layers if _is_above(name) else 0
            depth = depth_of.get(id(parameter), above_all) if id(parameter) in body else num_layers + 1
            at_depth.setdefault(depth, {})[f"{number}.{name}"] = parameter
    more = 1 if form == "code" else 0
    groups = []
    for depth, named in sorted(at_depth.items()):
        below = num_layers + 1 - depth
        groups += split_by_decay(named.items(), learning_rate_scale=decay ** (below + more if below else 0))
    return groups


def _is_above(name: str) -> bool:
    return any(part in name for part in _ABOVE_ALL_LAYERS)


def _depths(network: TaskNetwork) -> dict[int, int]:
    """Return the layer, from 1, of each parameter that is in one."""
    return {
        id(parameter): depth
        for depth, block in enumerate(network.body.blocks, start=1)
        for parameter in block.parameters()
    }
