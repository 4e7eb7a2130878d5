"""How fast this machine multiplies matrices: the rate that the step's is a share of.

The largest products of the network are measured alone: into the feed-forward part, with the two of its backward pass,
written to memory that is there already.
"""

from collections.abc import Callable
from typing import Any

import torch

from electrify.training.precision import choose_device


def build_products(work: dict[str, Any]) -> Callable[[int], None]:
    """Return what multiplies (N, H) by (H, F), forward and backward, a few times a call.

    Args:
        work: "num_tokens", "hidden_size", "intermediate_size", "product_repeats"; "variant", such as "bfloat16".
    """
    kind: dict[str, Any] = {"dtype": getattr(torch, work["variant"]), "device": choose_device()}
    tokens, size, inner = work["num_tokens"], work["hidden_size"], work["intermediate_size"]
    hidden, weight = torch.randn(tokens, size, **kind), torch.randn(size, inner, **kind)
    output, hidden_grad, weight_grad = torch.randn(tokens, inner, **kind), hidden.clone(), weight.clone()

    def multiply(_: int) -> None:
        for _ in range(work["product_repeats"]):
            torch.mm(hidden, weight, out=output)
            torch.mm(output, weight.T, out=hidden_grad)
            torch.mm(hidden.T, output, out=weight_grad)
        float(weight_grad[0, 0])  # on a GPU: wait until it is done

    return multiply


def product_operations(work: dict[str, Any]) -> float:
    """Return the operations of one call."""
    one: float = 2.0 * work["num_tokens"] * work["hidden_size"] * work["intermediate_size"]
    return 3 * one * int(work["product_repeats"])
