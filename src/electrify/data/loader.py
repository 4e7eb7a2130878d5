"""The order in which rows are trained on: a pure function of (seed, epoch).

Nothing is stored and nothing can be lost: a run that continues at a step asks for that step's rows. The order does not
depend on the number of workers or devices. The permutation is `grain`'s, which needs no memory for it.
"""

import logging
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from electrify.errors import DataError


class RowOrder:
    """An endless order of row numbers in which every epoch holds every row once.

    Args:
        num_rows: Rows of the data.
        seed: Of the order, any whole number; each epoch is shuffled anew.

    Raises:
        DataError: If there are no rows.
    """

    def __init__(self, num_rows: int, *, seed: int) -> None:
        if num_rows < 1:
            raise DataError("There are no rows to train on. Prepare a larger corpus, or a smaller validation part.")
        self.num_rows = num_rows
        # grain shuffles an epoch by the sum of seed and epoch: seeds must not be neighbours.
        mixed = xxhash.xxh32_intdigest(str(seed).encode())
        self._order = _grain().MapDataset.range(num_rows).shuffle(mixed).repeat()

    def row_indices(self, step: int, batch_size: int, *, start: int | None = None) -> NDArray[np.int64]:
        """Return the rows of one global batch, the positions [step·B, (step + 1)·B) of the order.

        Args:
            step: Optimizer steps already taken.
            batch_size: Rows of a step over all devices, B.
            start: Position of its first row; step·B if not given.

        Returns:
            Row numbers, (B,) int64. A batch may hold the end of one epoch and the beginning of the next.
        """
        start = step * batch_size if start is None else start
        return np.fromiter((self._order[i] for i in range(start, start + batch_size)), np.int64, batch_size)

    def epoch_of(self, step: int, batch_size: int) -> int:
        """Return the epoch, from 0, that the first row of a step belongs to."""
        return step * batch_size // self.num_rows


def _grain() -> Any:
    """Import grain without its warning that the profiler of jax is not there; nothing here uses jax."""

    def is_other(record: logging.LogRecord) -> bool:
        return "jax profiler" not in record.getMessage()

    absl = logging.getLogger("absl")
    absl.addFilter(is_other)
    try:
        import grain
    finally:
        absl.removeFilter(is_other)
    return grain
