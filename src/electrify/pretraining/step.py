"""One optimizer step: rows in, gradients, update, sums out. It can be taken, and timed, by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from electrify.objectives.objective import AnyObjective, Batch, Figures, add_counts, join_figures
from electrify.training.distributed import World
from electrify.training.optimizers import Optimizer
from electrify.training.parallel import Parallel
from electrify.training.precision import autocast


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step came to, over all processes; tensors are on the device and not yet waited for."""

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

    def values(self) -> dict[str, float]:
        """Return mean losses and gradient norm by name; see `mean_losses`."""
        return {**mean_losses(self.sums, self.counts), "grad_norm": float(self.grad_norm)}


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
        parallel: The objective as several processes train it together; None means this process alone.
        world: The processes; None means this one alone.
        dtype: Number format of the matrix products.
    """

    def __init__(
        self,
        objective: AnyObjective,
        optimizer: Optimizer,
        batches: Batches,
        *,
        parallel: Parallel[AnyObjective] | None = None,
        world: World | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._objective = objective
        self._optimizer = optimizer
        self._batches = batches
        self._world = world or World()
        self._parallel = parallel or Parallel(objective, [], world=self._world, kind="auto")
        self._dtype = dtype

    def take(self, step: int, factor: float, *, with_figures: bool = False) -> StepResult:
        """Take one optimizer step.

        Args:
            step: Optimizer steps already taken.
            factor: Schedule's factor on the learning rate, in [0, 1].
            with_figures: Whether diagnostics are wanted.
        """
        result = self.compute(step, with_figures=with_figures)
        self.apply(factor)
        return result

    def compute(self, step: int, *, with_figures: bool = False) -> StepResult:
        """Compute the clipped gradients of a step; see `take`. Then call `apply` or `drop`."""
        if not self._objective.training:  # before rows are prepared: masks may depend on it
            self._objective.train()
        batches = self._batches.of_step(step)
        totals, num_tokens = self._count(batches)
        sums: dict[str, Tensor] = {}
        figures = []
        for number, batch in enumerate(batches, start=1):
            with self._parallel.micro_batch(is_last=number == len(batches)):
                with autocast(self._batches.device, self._dtype):
                    output = self._parallel(batch, totals=totals, with_figures=with_figures)
                self._parallel.backward(output.loss)
            for name, value in output.sums.items():
                sums[name] = sums[name] + value.double() if name in sums else value.double()
            if with_figures:
                figures.append(self._objective.figures(output))
        return StepResult(
            sums=add_up(sums, self._world),
            counts=totals,
            num_tokens=num_tokens,
            grad_norm=self._optimizer.clip(),
            figures=join_up(join_figures(figures), self._world) if with_figures else None,
        )

    def apply(self, factor: float) -> None:
        """Update the parameters."""
        self._optimizer.update(factor)
        self._objective.finish_step(self._world.add)

    def drop(self) -> None:
        """Leave the parameters as they are."""
        self._optimizer.drop_gradients()
        self._objective.finish_step(None)

    def _count(self, batches: Sequence[Batch]) -> tuple[dict[str, int], int]:
        counts, num_tokens = add_counts(batches), sum(batch.num_tokens for batch in batches)
        if self._world.size == 1:
            return counts, num_tokens
        *values, total = self._world.add(
            torch.tensor([*counts.values(), num_tokens], device=self._batches.device)
        ).tolist()
        return dict(zip(counts, values, strict=True)), total


def mean_losses(sums: Mapping[str, Tensor], counts: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each loss over its terms, without those that have none; waits for the device.

    Args:
        sums: Over the terms of each loss, over all processes, scalars.
        counts: How many terms each has, over all processes too, so that they agree on what is left out.
    """
    return {name: float(value) / counts[name] for name, value in sums.items() if counts[name]}


def add_up(sums: dict[str, Tensor], world: World) -> dict[str, Tensor]:
    """Return the sums over all processes, scalars float64."""
    if world.size == 1:
        return sums
    return dict(zip(sums, world.add(torch.stack(list(sums.values()))).unbind(), strict=True))


def join_up(figures: Figures, world: World) -> Figures:
    """Return the figures of all processes end to end, in the order of ranks."""
    return {name: world.join(values) for name, values in figures.items()}
