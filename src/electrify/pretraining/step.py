"""One optimizer step: rows in, gradients, update, sums out. It can be taken, and timed, by itself."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from electrify.objectives.objective import AnyObjective, Batch, Figures, add_counts, join_figures
from electrify.training.optimizers import Adam
from electrify.training.precision import autocast


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step came to; tensors are on the device and not yet waited for."""

    sums: dict[str, Tensor]
    """Sum over the terms of each loss, scalars float64."""
    counts: dict[str, int]
    """How many terms each sum has."""
    num_tokens: int
    """Real tokens, special ones included."""
    grad_norm: Tensor
    """Global norm of the gradients before clipping, scalar."""
    figures: Figures | None
    """What diagnostics are made of, if asked for."""


class Batches(Protocol):
    """Where the rows of a step come from, such as a `pretraining.batches.BatchReader`."""

    device: torch.device

    def of_step(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimizer step, counted from 0."""


class TrainingStep:
    """Takes the steps of a run, in any order.

    Args:
        objective: What is trained, on its device.
        optimizer: Of its parameters.
        batches: Where the rows come from.
        dtype: Number format of the matrix products.
    """

    def __init__(
        self, objective: AnyObjective, optimizer: Adam, batches: Batches, *, dtype: torch.dtype = torch.float32
    ) -> None:
        self._objective = objective
        self._optimizer = optimizer
        self._batches = batches
        self._dtype = dtype

    def take(self, step: int, factor: float, *, with_figures: bool = False) -> StepResult:
        """Take one optimizer step.

        Args:
            step: Optimizer steps already taken.
            factor: Schedule's factor on the learning rate, in [0, 1].
            with_figures: Whether diagnostics are wanted.
        """
        batches = self._batches.of_step(step)
        totals = add_counts(batches)
        sums: dict[str, Tensor] = {}
        figures = []
        self._objective.train()
        for batch in batches:
            with autocast(self._batches.device, self._dtype):
                output = self._objective(batch, totals=totals, with_figures=with_figures)
            output.loss.backward()
            for name, value in output.sums.items():
                sums[name] = sums[name] + value.double() if name in sums else value.double()
            if with_figures:
                figures.append(self._objective.figures(output))
        return StepResult(
            sums=sums,
            counts=totals,
            num_tokens=sum(batch.num_tokens for batch in batches),
            grad_norm=self._optimizer.step(factor),
            figures=join_figures(figures) if with_figures else None,
        )
