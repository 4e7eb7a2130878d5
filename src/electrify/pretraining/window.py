"""Sums over the steps that one line of metrics stands for."""

from typing import Any

import torch
from torch import Tensor

from electrify.pretraining.step import StepResult, mean_losses


class Window:
    """Adds up losses without waiting for the device.

    Attributes:
        tokens_seen: Real tokens since the run began; not set back.
        last: The last good step of this line in this process; None if there was none.
        grad_norm: The last good step's, also of an earlier process; None if all were bad.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self.tokens_seen = 0
        self.last: StepResult | None = None
        self.grad_norm: Tensor | float | None = None

    def add(self, result: StepResult, *, is_good: bool = True) -> None:
        """Add a step; a bad one counts by its tokens only."""
        self.tokens_seen += result.num_tokens
        if not is_good:
            return
        for name, value in result.sums.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + result.counts[name]
        self.last, self.grad_norm = result, result.grad_norm

    def clear(self) -> None:
        """Begin the next line."""
        self._sums, self._counts, self.last, self.grad_norm = {}, {}, None, None

    def losses(self) -> dict[str, float]:
        """Return the mean of each loss over its terms; see `mean_losses`."""
        return mean_losses(self._sums, self._counts)

    def to_json(self) -> dict[str, Any]:
        """Return what a saved state keeps."""
        sums = {name: float(value) for name, value in self._sums.items()}
        norm = None if self.grad_norm is None else float(self.grad_norm)
        return {"sums": sums, "counts": dict(self._counts), "tokens_seen": self.tokens_seen, "grad_norm": norm}

    def load(self, saved: dict[str, Any], *, device: torch.device) -> None:
        """Continue from what `to_json` returned."""
        self._sums = {
            name: torch.tensor(value, dtype=torch.float64, device=device) for name, value in saved["sums"].items()
        }
        self._counts = dict(saved["counts"])
        self.tokens_seen = saved["tokens_seen"]
        self.grad_norm = saved.get("grad_norm")  # states of earlier versions have none
