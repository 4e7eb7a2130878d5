"""Fine-tuning: the command `finetune`, on one task or a suite of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from electrify.cli.app import Json, Overwrite, app, fail, overrides, show
from electrify.config import FinetuneConfig

_TASK = "classification"


@Parameter(name="*")
@dataclass(frozen=True)
class FieldOptions:
    """Which fields of the labelled files are read."""

    text_field: str | None = None
    """Field of the text, or of the words of tagged sentences; a usual name if not given."""
    text_b_field: str | None = None
    """Field of a pair's second text; a usual name if not given."""
    label_field: str | None = None
    """Field of the label, labels, score or tags; a usual name if not given."""
    group_field: str | None = None
    """ranking: field of the query; "qid" if not given."""


@dataclass(frozen=True)
class SuiteOptions:
    """Fine-tuning on several tasks."""

    suite: str | None = None
    """glue, squad, tagging, intent-slots, sentence-eval, mixed, chinese, or a TOML file: its tasks, not --train and
    --valid."""
    data: Path | None = None
    """Folder that the suite's files lie in."""
    name: str | None = None
    """What the model is called in the suite's table; its folder's name if not given."""
    only: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None
    """Tasks of the suite to do; all if not given."""
    jobs: int = 1
    """Tasks at a time, each in a process of its own."""
    together: Annotated[bool, Parameter(negative=())] = False
    """Train one body on all tasks of the suite at once instead of one network for each."""
    temperature: float = 1.0
    """together: 1 mixes steps by the size of the tasks, higher more evenly."""


@app.command
def finetune(
    model: str,
    /,
    *,
    output: Path,
    train: Path | None = None,
    valid: Path | None = None,
    test: Path | None = None,
    task: str = _TASK,
    init: Literal["pretrained", "random"] = "pretrained",
    seeds: Annotated[list[int] | None, Parameter(consume_multiple=True, negative=())] = None,
    settings: Annotated[FinetuneConfig | None, Parameter(name="*")] = None,
    field_names: FieldOptions | None = None,
    baseline: Path | None = None,
    max_bad_share: float = 0.0,
    suite: Annotated[SuiteOptions | None, Parameter(name="*")] = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Fine-tune an encoder on labelled examples, or on all tasks of a suite.

    Args:
        model: Folder of an encoder, such as a run's discriminator, or of a fine-tuned network.
        train: Labelled examples: .jsonl, .csv, .tsv or .parquet, plain or compressed; SQuAD's .json for questions.
        valid: Labelled examples that choose the best epoch.
        output: Folder for the network.
        test: Labelled examples that are only measured.
        task: classification, multilabel, regression, ranking, tagging, intent_slots, question_answering or
            multiple_choice.
        init: "random" forgets the weights and keeps the sizes, for comparison.
        seeds: One run each; 0 to 4 by default.
        settings: How to train.
        field_names: Where texts and labels stand.
        baseline: Output of another run on the same files, to compare with.
        max_bad_share: Highest share of rows that cannot be used; they are left out and counted.
        suite: Several tasks at once.
        resume: Go on with what an interrupted run left; a suite does so without being told, unless it is --together.
    """
    if suite is not None and suite.suite is not None:
        one_task = {
            "--train": train,
            "--valid": valid,
            "--test": test,
            "--task": None if task == _TASK else task,
            "--baseline": baseline,
            "--max-bad-share": max_bad_share or None,
            "names of fields": field_names,
        }
        _refuse(one_task, "with --suite, whose file says so for each task")
        _finetune_suite(model, suite, output, seeds, init, settings, resume=resume, overwrite=overwrite, as_json=json)
        return
    if train is None or valid is None:
        fail("--train and --valid are missing; or give --suite and --data.")
    if suite is not None:
        several = {
            "--data": suite.data,
            "--name": suite.name,
            "--only": suite.only,
            "--jobs": None if suite.jobs == 1 else suite.jobs,
            "--together": suite.together or None,
            "--temperature": None if suite.temperature == 1.0 else suite.temperature,
        }
        _refuse(several, "without --suite")
    from electrify.verbs.finetune import SEEDS
    from electrify.verbs.finetune import finetune as run

    report = run(
        model,
        train=train,
        validation=valid,
        output=output,
        test=test,
        task=task,
        init=init,
        seeds=seeds or SEEDS,
        config=settings,
        fields=fields_of(field_names),
        baseline=baseline,
        max_bad_share=max_bad_share,
        resume=resume,
        overwrite=overwrite,
    )
    lines = [f"Network of seed {report.published_seed} in {output}"]
    for part, summaries in (("validation", report.validation_metrics), ("test", report.test_metrics)):
        for name, summary in summaries.items():
            mark = "*" if name == report.metric else " "
            lines.append(f" {mark}{part} {name}  {mean_and_spread(summary)}")
    if report.comparison is not None:
        lines.append(comparison_line(report.comparison))
    lines += [f"  {part}: left out {places}" for part, places in report.rejected_places.items()]
    if report.num_cut_examples:
        lines.append(f"  {report.num_cut_examples:,} examples were longer than --max-length and were cut")
    show(report, as_json=json, lines=lines)


def _finetune_suite(
    model: str,
    options: SuiteOptions,
    output: Path,
    seeds: list[int] | None,
    init: Literal["pretrained", "random"],
    settings: FinetuneConfig | None,
    *,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    from electrify.verbs.finetune import SEEDS

    assert options.suite is not None
    if options.data is None:
        fail("--data is missing: the folder that the suite's files lie in.")
    if options.together:
        each = {
            "--init": None if init == "pretrained" else init,
            "--jobs": None if options.jobs == 1 else options.jobs,
            "--name": options.name,
        }
        _refuse(each, "with --together, which trains one network from the model")
        from electrify.verbs.suite import run_together

        together = run_together(
            model,
            options.suite,
            data=options.data,
            output=output,
            seeds=seeds or SEEDS,
            overrides=overrides(settings),
            only=options.only or (),
            temperature=options.temperature,
            resume=resume,
            overwrite=overwrite,
        )
        lines = [f"One body with a head for each task, of seed {together.published_seed}, in {output}"]
        lines += [
            f"  {name} {part} {one['metric']}  {mean_and_spread(one[part][one['metric']])}"
            for name, one in together.tasks.items()
            for part in ("validation", "test")
            if part in one
        ]
        lines += [
            f"  {name} {part}: left out {places}"
            for name, one in together.tasks.items()
            for part, places in one["rejected_places"].items()
        ]
        show(together, as_json=as_json, lines=lines)
        return
    _refuse({"--temperature": None if options.temperature == 1.0 else options.temperature}, "without --together")
    if options.jobs < 1:
        fail(f"--jobs must be at least 1, got {options.jobs}.")
    _refuse({"--overwrite": overwrite or None}, "with --suite, which goes on; remove the folder of a task to repeat it")
    from electrify.report.suite_page import write_suite_page
    from electrify.verbs.suite import run_suite

    report = run_suite(
        model,
        options.suite,
        data=options.data,
        output=output,
        name=options.name,
        seeds=seeds or SEEDS,
        init=init,
        overrides=overrides(settings),
        only=options.only or (),
        jobs=options.jobs,
    )
    write_suite_page(report, output / "table.html")
    show(report, as_json=as_json, lines=[report.table])


def _refuse(options: dict[str, Any], why: str) -> None:
    """Fail on the first option that was given and would be passed over."""
    for name, value in options.items():
        if value is not None:
            fail(f"{name} can not be used {why}.")


def mean_and_spread(summary: dict[str, Any]) -> str:
    """Return a summary of seeds as "mean ± deviation, median  (values)"."""
    values = " ".join(f"{value:.4f}" for value in summary["values"])
    spread = "" if summary["std"] is None else f" ± {summary['std']:.4f}"
    median = f", median {summary['median']:.4f}" if spread else ""
    return f"{summary['mean']:.4f}{spread}{median}  ({values})"


def fields_of(options: FieldOptions | None) -> Any:
    """Return the names of fields as the readers take them."""
    from electrify.tasks.kinds import Fields

    options = options or FieldOptions()
    return Fields(options.text_field, options.text_b_field, options.label_field, options.group_field)


def comparison_line(one: Any) -> str:
    """Return a comparison with a baseline as one line."""
    low, high = one.difference.low, one.difference.high
    return (
        f"  {one.part} {one.metric} {one.value:.4f}, baseline {one.baseline:.4f}: "
        f"difference {one.difference.value:+.4f} ({low:+.4f} to {high:+.4f}), p = {one.p_value:.3f}"
    )
