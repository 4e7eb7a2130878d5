"""How many rows a step has while the batch grows: a function of the step, so that a resumed run reads the same rows.

Every row of an epoch is still read once: the rows of a step begin where those of the step before ended.
"""

import numpy as np

from electrify.config import TrainingConfig


class BatchGrowth:
    """Sizes of the batches of a run.

    Args:
        config: The batch grows on a line from `batch_size_start` to `batch_size` over `batch_warmup_steps`.
    """

    def __init__(self, config: TrainingConfig) -> None:
        start = config.batch_size if config.batch_size_start is None else config.batch_size_start
        steps = config.batch_warmup_steps if start != config.batch_size else 0
        self.full = config.batch_size
        self._sizes = start + (config.batch_size - start) * np.arange(steps) // max(1, steps)
        self._first = np.concatenate([[0], np.cumsum(self._sizes)])

    @property
    def smallest(self) -> int:
        """Return the number of rows of the smallest batch."""
        return int(min(self.full, *self._sizes.tolist())) if len(self._sizes) else self.full

    def size(self, step: int) -> int:
        """Return the number of rows of a step, counted from 0."""
        return int(self._sizes[step]) if step < len(self._sizes) else self.full

    def first_row(self, step: int) -> int:
        """Return how many rows all steps before have had."""
        growing = min(step, len(self._sizes))
        return int(self._first[growing]) + (step - growing) * self.full
