"""The small values of a saved state, compared with what a run writes before any of them is used.

A state may come from elsewhere, and its manifest with it, so digests say nothing about what the values mean.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from electrify.errors import CheckpointError

_Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Window(_Part):
    sums: dict[str, float]
    counts: dict[str, _Count]
    tokens_seen: _Count
    grad_norm: float | None = None  # states of earlier versions have none


class _Guard(_Part):
    history: dict[str, list[float]]
    bad_steps: list[_Count]
    num_bad: _Count
    num_skipped: _Count


class _Counters(_Part):
    run: str
    data_digest: str
    seconds: Annotated[float, Field(ge=0)]
    factor: Annotated[float, Field(ge=0, le=1)] | None = None  # states of earlier versions have none
    window: _Window
    guard: _Guard
    validation: dict[str, float | None]
    warning: str | None
    updates: _Count


def check_counters(counters: dict[str, Any], place: Path) -> None:
    """Check that a state's counters are of the kind that a run writes.

    Args:
        counters: Of the state.
        place: Its folder, for the message.

    Raises:
        CheckpointError: Naming the first one that is not.
    """
    try:
        _Counters.model_validate(counters)
    except ValidationError as problem:
        first = problem.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{place}: '{name}' is not what a run writes ({first['msg']}).") from None
