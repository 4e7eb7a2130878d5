"""First values of the matrices inside a run's layers: how large they are, and whether equal tokens find each other."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from electrify.config import ModelConfig
from electrify.models.electra import ElectraModel
from electrify.models.heads import Network, body_of
from electrify.models.modernbert import ModernBertModel


@torch.no_grad()
def start_layers(networks: Sequence[Network], config: ModelConfig) -> None:
    """Give the layers of new networks the values that a config asks for, in place; T5's keep their own.

    Args:
        networks: Those of an objective before the first step, with the random values of their bodies.
        config: `layer_std` and `attention_match` count.
    """
    bodies = [body for network in networks if isinstance(body := body_of(network), ElectraModel | ModernBertModel)]
    if config.layer_std is not None:
        stds: dict[Tensor, float] = {}  # each once: layers may be in two networks, or all be one
        for body in bodies:
            parts = [part for part in body.blocks.modules() if isinstance(part, nn.Linear)]
            stds |= {part.weight: body.config.initializer_range for part in parts}
        for matrix, std in stds.items():
            matrix.mul_(config.layer_std / std)
    if config.attention_match:
        for body in bodies:
            body.match_keys(config.attention_match)
