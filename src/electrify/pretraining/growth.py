"""How many rows a step has, and how long they are, while either grows.

Both are functions of the step, so that a resumed run reads the same rows. Every row of an epoch is still read once: the
rows of a step begin where those of the step before ended.
"""

import numpy as np

from electrify.config import ScheduleConfig, TrainingConfig


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


class LengthGrowth:
    """Lengths of the pieces into which the rows of a run are cut at its beginning.

    Args:
        config: The length grows on a line from `length_start` to that of whole rows over `length_warmup_steps`.
        max_length: Tokens of the longest row.
    """

    def __init__(self, config: ScheduleConfig, max_length: int) -> None:
        start = max_length if config.length_start is None else config.length_start
        steps = config.length_warmup_steps if start < max_length else 0
        self._full = max_length
        self._lengths = start + (max_length - start) * np.arange(steps) // max(1, steps)

    def length(self, step: int) -> int:
        """Return the longest piece of a step, special tokens included; that of whole rows after the warm-up."""
        return int(self._lengths[step]) if step < len(self._lengths) else self._full

    def stages(self) -> list[tuple[int, int]]:
        """Return the steps at which the length changes, with the length from then on; the first is step 0."""
        every = np.append(self._lengths, self._full)
        changes = np.flatnonzero(np.diff(every, prepend=-1))
        return [(int(step), int(every[step])) for step in changes]
