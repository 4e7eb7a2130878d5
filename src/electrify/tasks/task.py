"""The one shape of all kinds of task: examples to features, a head, a loss, outputs to predictions, metrics.

Each kind is one file beside this one with a frozen dataclass that fits `Task`; `kinds` lists them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from electrify.data.tokenizer import Tokenizer
from electrify.models.heads import TaskNetwork
from electrify.models.inputs import Inputs
from electrify.tasks.features import Features
from electrify.tasks.judgement import Judgement

Head = Literal["sequence", "first_token", "tokens", "question", "joint_question", "choice", "intent_slots"]
"""Which network a task needs; `verbs.loading` builds them."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One part of the data, ready for batches."""

    features: Features
    examples: Sequence[Any]
    targets: Any
    """What the task's loss compares with; only the task knows its form. None without labels."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was cut or repaired, by a name that can be shown."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some units of a part, as the network reads them."""

    inputs: Inputs
    """Rows of all units, one unit's after the other's."""
    units: np.ndarray
    """Which units, (U,) int64."""
    rows: np.ndarray
    """Which rows, (B,) int64."""
    encoded: Encoded

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return self.inputs.input_ids.device

    @property
    def unit_of_row(self) -> Tensor:
        """Return which of the batch's units each row belongs to, (B,) int64."""
        features = self.encoded.features
        sizes = torch.from_numpy(features.ends[self.units] - features.starts[self.units])
        return torch.repeat_interleave(torch.arange(len(self.units)), sizes).to(self.device)


class Task(Protocol):
    """A kind of task with its labels and options."""

    @property
    def kind(self) -> str:
        """Name of the kind."""
        ...

    @property
    def head(self) -> Head:
        """Which network it needs."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the network's outputs; empty if it has none."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics, higher is better; the first chooses the best epoch if nothing else is asked for."""
        ...

    @property
    def problem_type(self) -> str | None:
        """What Transformers calls it in `config.json`."""
        ...

    def encode(
        self, examples: Sequence[Any], tokenizer: Tokenizer, *, max_length: int, is_training: bool = False
    ) -> Encoded:
        """Make rows and targets of examples.

        Raises:
            DataError: Naming the first example whose label the task has not.
        """
        ...

    def weight(self, encoded: Encoded, units: np.ndarray) -> float:
        """Return what the summed loss of these units is divided by, > 0 if there is anything to learn in them."""
        ...

    def loss(self, network: TaskNetwork, batch: Batch) -> Tensor:
        """Return the summed loss of a batch, in float32; scalar."""
        ...

    def outputs(self, network: TaskNetwork, batch: Batch) -> list[np.ndarray]:
        """Return what the predictions are made of, one array for each unit, in the batch's order."""
        ...

    def decode(self, outputs: Sequence[np.ndarray], encoded: Encoded) -> list[Any]:
        """Return one prediction for each example of a part, from the outputs of all its units in order."""
        ...

    def judge(self, examples: Sequence[Any], predictions: Sequence[Any]) -> Judgement:
        """Compare predictions with the right answers of their examples."""
        ...
