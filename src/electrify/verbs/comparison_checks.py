"""What is seen to before hours of training: tasks can be read, variants be built, the folder is of this comparison."""

from collections.abc import Sequence
from pathlib import Path

import torch

from electrify.data.shards import ShardFolder
from electrify.errors import ConfigError, ElectrifyError
from electrify.files import digest_file, digest_text, read_json, write_json
from electrify.pretraining.session import Session
from electrify.progress import bar
from electrify.tasks.kinds import build_task
from electrify.training.distributed import World
from electrify.verbs.apart import RESULTS
from electrify.verbs.comparison_file import ComparisonPlan
from electrify.verbs.comparison_plan import PlannedRun
from electrify.verbs.finetune import choose_metric, read_parts
from electrify.verbs.suite_file import Suite, SuiteTask


def check_tasks(plan: ComparisonPlan, suite: Suite, tasks: Path) -> None:
    """Read what the runs are judged by.

    Raises:
        ConfigError: If a file is missing, or a task can not show any of the metrics that it should.
        DataError: If a file can not be used.
    """
    for task in suite.task:
        for name in _files(task).values():
            if not (tasks / name).is_file():
                raise ConfigError(
                    f"{tasks / name}: there is no such file, which task {task.name} of {suite.name} needs."
                )
    with bar("Reading tasks", total=float(len(suite.task))) as progress:
        for task in suite.task:
            config = suite.config(task, plan.evaluation.settings)
            files = {part: tasks / name for part, name in _files(task).items()}
            try:
                examples, _ = read_parts(
                    task.kind, files, fields=task.fields.resolve(), max_bad_share=task.max_bad_share
                )
                built = build_task(task.kind, examples["train"], config)
                choose_metric(built, config.metric, examples["validation"])
            except ElectrifyError as problem:
                raise type(problem)(f"task {task.name}: {problem}") from None
            if task.shown and not set(task.shown) & set(built.metrics):
                raise ConfigError(
                    f"task {task.name}: its labels have none of the metrics that are shown ({', '.join(task.shown)}). "
                    f"There are: {', '.join(built.metrics)}."
                )
            progress.advance(1, text=task.name)


def check_variants(planned: Sequence[PlannedRun], shards: ShardFolder) -> None:
    """Build what is trained of each variant that is not done.

    Raises:
        ElectrifyError: If that is not possible, naming the variant.
    """
    waiting = {one.variant.name: one for one in planned if not (one.folder / RESULTS).exists()}
    for name, one in waiting.items():
        try:
            Session(one.config, shards, one.folder, world=World(), device=torch.device("cpu")).build_optimizer()
        except ElectrifyError as problem:
            raise type(problem)(f"variant {name}: {problem}") from None


def claim(folder: Path, plan: ComparisonPlan, suite: Suite, *, shards: ShardFolder, tasks: Path) -> None:
    """Write what a folder is for.

    Raises:
        ConfigError: If it is for something else, so that scores in it could not be compared with new ones.
    """
    now = {
        "budget": plan.budget.model_dump(),
        "fine-tuning seeds": list(plan.evaluation.seeds),
        "suite or its settings": digest_text(f"{suite.model_dump_json()}{sorted(plan.evaluation.settings.items())}"),
        "data": shards.digest,
        "task files": {name: digest_file(tasks / name) for task in suite.task for name in _files(task).values()},
    }
    path = folder / "comparison.json"
    if path.exists():
        then = read_json(path)
        changed = [name for name, value in now.items() if name in then and then[name] != value]
        if changed:
            raise ConfigError(
                f"{folder}: was begun with other {changed[0]}, so its scores could not be compared with new ones. "
                "Choose another --output."
            )
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists already and is no comparison. Choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, now)


def _files(task: SuiteTask) -> dict[str, str]:
    """Return the names of a task's files by part."""
    test = {} if task.test is None else {"test": task.test}
    return {"train": task.train, "validation": task.valid, **test}
