"""What predictions are worth, in a form that can be computed on any part of the examples again.

Confidence intervals draw examples with repetition a thousand times, so metrics are formulas over columns with one entry
an example (ranking: a query), and never need the network twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from electrify.errors import CheckpointError, ElectrifyError

EXAMPLE = "example"
"""Column with the digest of what each entry is of: what tells judgements of the same examples from others."""

_NOT_CONTENT = ("place", "id")
"""Fields of examples that say where they stand."""

Columns = dict[str, np.ndarray]
Formula = Callable[[Columns], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Right answers and predictions of some examples, as numbers."""

    columns: Columns
    """By name, each (N,) or (N, …)."""
    formula: Formula
    """Metrics from columns of any N > 0."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def metrics(self, indices: np.ndarray | None = None) -> dict[str, float]:
        """Return the metrics over all examples, or over some (with repetition), (M,) int64."""
        if indices is None:
            return self.formula(self.columns)
        return self.formula({name: values[indices] for name, values in self.columns.items()})


def signed(judgement: Judgement, judged: Sequence[Any]) -> Judgement:
    """Return a judgement that says what it is of: its N examples, or groups of them (`kinds.judged`)."""
    assert len(judged) == len(judgement), f"{len(judgement)} entries for {len(judged)} that were judged"
    return Judgement(judgement.columns | {EXAMPLE: digests(judged)}, judgement.formula)


def digests(judged: Sequence[Any]) -> np.ndarray:
    """Return a digest of what each example, or each group of them, holds, labels included, (N,) int64."""
    texts = [repr(_content(one)) for one in judged]
    found = [xxhash.xxh3_64_intdigest(text.encode(errors="surrogatepass")) for text in texts]
    return np.array(found, dtype=np.uint64).view(np.int64)


def _content(one: Any) -> list[Any]:
    if isinstance(one, tuple):
        return [_content(member) for member in one]
    return [getattr(one, field.name) for field in fields(one) if field.name not in _NOT_CONTENT]


def write_columns(columns: Columns, path: Path) -> None:
    """Write columns as safetensors; the folder must exist."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(values) for name, values in columns.items()}, path)


def read_columns(path: Path) -> Columns:
    """Read what `write_columns` wrote.

    Raises:
        CheckpointError: If the file is missing or broken.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(f"{path}: cannot be read ({problem}). Run `electrify finetune` again.") from None


def require_sklearn() -> None:
    """Say how to install scikit-learn if it is not there.

    Raises:
        ElectrifyError: If it is not.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ElectrifyError("scikit-learn is not installed: pip install 'electrify[finetune]'.") from None
