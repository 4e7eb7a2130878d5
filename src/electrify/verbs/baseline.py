"""Compare a run with another one on the same examples, from the judgements that both left."""

from collections.abc import Mapping
from pathlib import Path

from electrify.errors import DataError
from electrify.files import read_json
from electrify.tasks.bootstrap import Comparison, compare
from electrify.tasks.judgement import Judgement, read_columns
from electrify.tasks.kinds import formula_of
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
    folder = Path(baseline)
    kind = read_json(folder / "results.json").get("task")
    if kind != task.kind:
        raise DataError(f"{folder}: a run of '{kind}', not of '{task.kind}'. Compare runs of one kind.")
    for part in _PARTS:
        ours = [judgement for (_, name), judgement in judgements.items() if name == part]
        files = sorted((folder / JUDGEMENTS).glob(f"seed-*-{part}.safetensors"))
        if ours and files:
            theirs = [Judgement(read_columns(path), formula_of(task)) for path in files]
            return compare(ours, theirs, metric=metric, part=part)
    raise DataError(f"{folder}: no judgements to compare with. Run `electrify finetune` again to get them.")
