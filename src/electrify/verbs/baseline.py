"""Compare a run with another one on the same examples, from the judgements that both left."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electrify.errors import DataError
from electrify.files import read_json
from electrify.tasks.bootstrap import Comparison, compare
from electrify.tasks.judgement import EXAMPLE, Judgement, digests, read_columns
from electrify.tasks.kinds import formula_of, judged
from electrify.tasks.task import Task
from electrify.verbs.finetune_report import JUDGEMENTS

_PARTS = ("test", "validation")


def compare_with(
    baseline: str | Path, judgements: Mapping[tuple[int, str], Judgement], *, metric: str, task: Task
) -> Comparison:
    """Compare the seeds of a run with those of another, on the test part if both have one, else on validation.

    Args:
        baseline: Output folder of the other run.
        judgements: This run's, by seed and part.
        metric: What is compared.
        task: This run's; the other must be of the same kind.

    Raises:
        DataError: If the other is of another kind, or was measured on other examples.
    """
    part, theirs = _read(Path(baseline), task, {part for _, part in judgements})
    ours = [judgement for (_, name), judgement in judgements.items() if name == part]
    return compare(ours, theirs, metric=metric, part=part)


def check_baseline(baseline: str | Path, examples: Mapping[str, Sequence[Any]], *, task: Task) -> None:
    """Refuse what could not be compared with, before a run begins.

    Args:
        baseline: As for `compare_with`.
        examples: This run's, by part.
        task: This run's.

    Raises:
        DataError: As `compare_with`.
    """
    part, theirs = _read(Path(baseline), task, examples.keys())
    found = theirs[0].columns.get(EXAMPLE)
    wanted = digests(judged(task, examples[part]))
    if len(theirs[0]) != len(wanted) or (found is not None and not np.array_equal(found, wanted)):
        raise DataError(f"{baseline}: was measured on other examples of the {part} part. Compare runs on the same.")


def _read(folder: Path, task: Task, parts: Collection[str]) -> tuple[str, list[Judgement]]:
    """Return the part to compare, and a run's judgements of it by seed."""
    kind = read_json(folder / "results.json").get("task")
    if kind != task.kind:
        raise DataError(f"{folder}: a run of '{kind}', not of '{task.kind}'. Compare runs of one kind.")
    for part in _PARTS:
        files = sorted((folder / JUDGEMENTS).glob(f"seed-*-{part}.safetensors"))
        if part in parts and files:
            return part, [Judgement(read_columns(path), formula_of(task)) for path in files]
    raise DataError(f"{folder}: no judgements to compare with. Run `electrify finetune` again to get them.")
