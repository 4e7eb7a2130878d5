"""What every objective is: rows in, a loss that can be taken in parts, figures, and the networks that come out.

A step may be cut into micro-batches and spread over processes. So a loss is a *sum* over terms (predictions, tokens,
rows) divided by how many terms the whole batch of the step has; the parts then add up to the same loss and the same
gradient however the rows are dealt out. Everything random is a function of a row's key (`electrify.noise`).

A new objective is one file with a subclass, and an entry in `electrify.pretraining.objectives`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from electrify.models.heads import Network
from electrify.models.inputs import Inputs

Counts = Mapping[str, int]
"""For each loss by its name: how many terms its sum has."""
Figures = dict[str, Tensor]
"""What diagnostics are made of, each (n,), detached; joined end to end over micro-batches and processes."""


class Batch(Protocol):
    """Rows that are ready for a forward pass, all random choices made."""

    @property
    def counts(self) -> Counts:
        """Return how many terms each loss has on these rows."""

    @property
    def num_tokens(self) -> int:
        """Return the number of real tokens, special ones included."""


class Output(Protocol):
    """What a forward pass returns at least."""

    @property
    def loss(self) -> Tensor:
        """Return these rows' part of the step's loss, a scalar with a gradient."""

    @property
    def sums(self) -> dict[str, Tensor]:
        """Return the sum over the terms of each loss by its name, scalars float32, detached."""


B = TypeVar("B", bound=Batch)
O = TypeVar("O", bound=Output)  # noqa: E741 - B and O stand for batch and output


class Scheduled(nn.Module):
    """A part of an objective that acts otherwise in the course of a run."""

    progress: float = 0.0
    """Share of the run that is done, in [0, 1]."""

    def end_step(self, add: Callable[[Tensor], Tensor] | None) -> None:
        """Take in what the forward passes of a step have shown; nothing, unless a part says otherwise.

        Args:
            add: Gives the sum of a tensor over all processes; None forgets the step, whose update is left out.
        """


class Objective(Scheduled, ABC, Generic[B, O]):
    """Networks and how they are trained together."""

    title: str
    """What the objective is called in a sentence."""
    special_tokens: tuple[str, ...] = ()
    """Tokens that its networks know and the data's tokenizer may not; new ones come behind its last id."""
    needs_others: bool = False
    """Whether `prepare` takes another row for each, drawn at random from the same data, behind the rows: (2·B, T). The
    documents of their tokens are then always among the inputs."""

    def set_progress(self, progress: float) -> None:
        """Say how much of the run is done, in [0, 1], before a step is prepared."""
        for part in self.modules():
            if isinstance(part, Scheduled):
                part.progress = progress

    def finish_step(self, add: Callable[[Tensor], Tensor] | None) -> None:
        """Let all parts take in a step, or forget it; see `Scheduled.end_step`."""
        for part in self.modules():
            if isinstance(part, Scheduled):
                part.end_step(add)

    @abstractmethod
    def prepare(self, inputs: Inputs, keys: Tensor) -> B:
        """Make all random choices for some rows; the same for a row whatever it is batched with.

        Args:
            inputs: Original rows, (B, T).
            keys: One key a row, (B,) int64; see `electrify.noise.row_keys`.
        """

    @abstractmethod
    def forward(self, batch: B, *, totals: Counts, with_figures: bool = False) -> O:
        """Compute the loss of a micro-batch.

        Args:
            batch: What `prepare` returned.
            totals: Terms of each loss in the whole batch of the step, over all micro-batches and processes.
            with_figures: Whether what `figures` needs is computed too.
        """

    @abstractmethod
    def figures(self, output: O) -> Figures:
        """Reduce a forward pass to what `diagnose` needs; small enough to keep.

        Raises:
            ValueError: If the forward pass was made without figures.
        """

    @abstractmethod
    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return the figures of some forward passes, joined, as numbers with names; not those that have no terms."""

    @abstractmethod
    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say what is wrong with a run that should have learned something by now; None if nothing is.

        Args:
            held_out: Mean losses and diagnosed figures of the held-out rows, without those that have no terms.
            token_counts: How often each token that can be predicted occurs in the data, (V,).
        """

    @abstractmethod
    def networks(self) -> dict[str, Network]:
        """Return the networks that are published, by the name of their folder; the first is the one to fine-tune."""

    def trained(self) -> list[Network]:
        """Return the networks that learn, each once: those that are published, unless an objective says otherwise."""
        return list(self.networks().values())


def add_counts(batches: Sequence[Batch]) -> dict[str, int]:
    """Return the terms of each loss over some batches, at least one."""
    return {name: sum(batch.counts[name] for batch in batches) for name in batches[0].counts}


def join_figures(parts: Sequence[Figures]) -> Figures:
    """Join the figures of some forward passes, at least one, end to end."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


AnyObjective = Objective[Any, Any]
