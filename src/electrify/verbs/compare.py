"""`compare`: pre-train variants at an equal budget over several seeds, fine-tune each, and put all beside each other.

    OUTPUT/comparison.json              what is compared, so that another comparison is not mixed in
    OUTPUT/runs/VARIANT/seed-N/         what `pretrain` writes
    OUTPUT/scores/VARIANT.seed-N/TASK/  what `finetune` writes
    OUTPUT/report.md, table.csv, figures/*.csv

The same call goes on where it was interrupted: finished runs and tasks are not done again, an unfinished run continues
from its last state. Seeds and variants may be added later, the budget and the evaluation may not change.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from electrify.data.shards import open_shards
from electrify.errors import ConfigError
from electrify.files import read_json
from electrify.pretraining.folder import refuse_other_config
from electrify.progress import bar
from electrify.runs import read_metrics
from electrify.tasks.bootstrap import Drawn, draw_scores, require_same_examples
from electrify.tasks.judgement import Judgement, read_columns
from electrify.tasks.kinds import formula_of
from electrify.verbs.apart import RESULTS, Judging, Work, run_apart
from electrify.verbs.comparison_checks import check_tasks, check_variants, claim
from electrify.verbs.comparison_file import ComparisonPlan, load_comparison
from electrify.verbs.comparison_plan import PlannedRun, plan_run
from electrify.verbs.comparison_tables import ComparisonReport, write_comparison
from electrify.verbs.comparison_tests import Run, add_examples, compare_means
from electrify.verbs.finetune_report import JUDGEMENTS
from electrify.verbs.finetuned import open_finetuned
from electrify.verbs.suite_file import Suite
from electrify.verbs.suite_table import SuiteReport, write_tables

_LOG = logging.getLogger(__name__)


def compare(
    comparison: str | Path, *, data: str | Path, tasks: str | Path, output: str | Path, jobs: int = 1
) -> ComparisonReport:
    """Train and judge what is not done yet, and write the report.

    Args:
        comparison: A shipped comparison's name or a TOML file.
        data: Shard folder that all runs are trained on.
        tasks: Folder that the suite's files lie in.
        output: Folder of the comparison.
        jobs: Runs at a time, which share the processors; not with a budget of minutes.

    Raises:
        ConfigError: If the comparison or a setting in it is wrong, or the folder is of another comparison.
        DataError: If shards or a task's file can not be used.
        RunStopped: If SIGTERM or SIGINT asked for an end; the same call goes on.
    """
    plan, suite = load_comparison(comparison)
    folder, shards = Path(output), open_shards(data)
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, got {jobs}.")
    if jobs > 1 and plan.budget.minutes is not None:
        raise ConfigError(
            "minutes are no equal budget while other runs use the processors. Leave out --jobs, or set flops or tokens."
        )
    planned = [plan_run(plan, variant, seed, shards, folder) for variant in plan.variant for seed in plan.seeds]
    check_tasks(plan, suite, Path(tasks))
    check_variants(planned, shards)
    claim(folder, plan, suite, shards=shards, tasks=Path(tasks))
    for one in planned[:: len(plan.seeds)]:
        steps = "as many steps as fit" if plan.budget.minutes else f"{one.config.schedule.num_steps:,} steps"
        _LOG.info(
            "%s: %.4g operations a token, %s.",
            one.variant.name,
            one.cost.whole.operations / one.cost.whole.tokens,
            steps,
        )
    _do(planned, plan, suite, tasks=Path(tasks), scores=folder / "scores", jobs=jobs)
    judged = write_tables(suite, folder / "scores")
    runs = [_gather(one, judged) for one in planned]
    tests = compare_means(runs, [task.name for task in suite.task])
    if tests:
        tests = add_examples(tests, _draw(planned, suite, judged, folder / "scores"))
    report = ComparisonReport(
        output=str(folder),
        name=plan.name,
        budget=plan.budget.text(),
        seeds=list(plan.seeds),
        finetuning_seeds=list(plan.evaluation.seeds),
        suite=suite.name,
        tasks=[task.name for task in suite.task],
        runs=runs,
        tests=tests,
    )
    write_comparison(report, folder)
    return report


def _do(
    planned: Sequence[PlannedRun], plan: ComparisonPlan, suite: Suite, *, tasks: Path, scores: Path, jobs: int
) -> None:
    """Train and judge what is not done yet."""
    names, evaluation = [task.name for task in suite.task], plan.evaluation
    works = []
    for one in planned:
        refuse_other_config(one.folder, one.config)
        if one.share_done(scores, names) == 1:
            continue
        judging = Judging(
            suite=evaluation.suite,
            data=str(tasks),
            output=str(scores),
            name=one.label,
            seeds=evaluation.seeds,
            overrides=evaluation.settings,
            only=evaluation.only,
        )
        works.append(Work(one.label, one.recipe, str(one.folder), one.overrides, judging))
    _LOG.info("%d of %d runs are to be done.", len(works), len(planned))
    with bar("Runs", total=float(len(planned))) as progress:

        def tick() -> None:
            shares = {one.label: one.share_done(scores, names) for one in planned}
            text = ", ".join(f"{label} {share:.0%}" for label, share in shares.items() if 0 < share < 1)
            progress.advance(sum(shares.values()) - progress.done, text=text)

        run_apart(works, jobs=jobs, tick=tick if jobs > 1 else lambda: None)  # one alone shows its own


def _gather(one: PlannedRun, judged: SuiteReport) -> Run:
    results = read_json(one.folder / RESULTS)
    curve = [
        {
            "step": record["step"],
            "flops": one.cost.of(one.config, record["step"]).operations,
            **{name: value for name, value in record.items() if isinstance(value, float)},
        }
        for record in read_metrics(one.folder)
        if record["kind"] == "validation"
    ]
    return Run(
        variant=one.variant.name,
        seed=one.seed,
        kind=one.config.objective.kind,
        steps=results["steps"],
        tokens=results["tokens"],
        flops=one.cost.of(one.config, results["steps"]).operations,
        seconds=results["seconds"],
        tokens_per_s=results["tokens_per_s"],
        peak_bytes=results.get("peak_bytes"),
        scores={
            task: sum(cell.mean for cell in cells.values()) / len(cells)
            for task, cells in judged.scores[one.label].items()
        },
        validation=results["validation"],
        warning=results["warning"],
        curve=curve,
    )


def _draw(
    planned: Sequence[PlannedRun], suite: Suite, judged: SuiteReport, scores: Path
) -> dict[str, dict[str, Drawn]]:
    """Return each variant's score on each task, over all its runs, for each draw of the task's examples."""
    labels: dict[str, list[str]] = {}
    for one in planned:
        labels.setdefault(one.variant.name, []).append(one.label)
    drawn: dict[str, dict[str, Drawn]] = {name: {} for name in labels}
    with bar("Comparing on examples", total=float(len(suite.task) * len(labels))) as progress:
        for number, task in enumerate(suite.task):  # which is the seed too, as tasks are drawn apart
            cells = judged.scores[planned[0].label][task.name]
            part = next(iter(cells.values())).part
            formula = formula_of(open_finetuned(scores / planned[0].label / task.name).task)
            judgements = {
                name: [
                    Judgement(read_columns(file), formula)
                    for label in mine
                    for file in _judgements(scores / label / task.name, part)
                ]
                for name, mine in labels.items()
            }
            require_same_examples([one for some in judgements.values() for one in some])
            for name, some in judgements.items():
                drawn[name][task.name] = draw_scores(some, list(cells), seed=number)
                progress.advance(1, text=f"{task.name}, {name}")
    return drawn


def _judgements(folder: Path, part: str) -> list[Path]:
    return sorted((folder / JUDGEMENTS).glob(f"seed-*-{part}.safetensors"))
