"""Fine-tuning a published encoder on labelled examples, over several seeds.

Read `finetune` first; `tasks/run.py` is one seed. Every seed draws its own head, order and dropout; its best epoch by
the validation part is kept, and the best seed's network is what the output folder holds.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrify.config import FinetuneConfig
from electrify.data.rejects import Rejects
from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError, did_you_mean
from electrify.files import refuse_existing
from electrify.models.checkpoint import read_config, resolve_folder
from electrify.models.heads import TaskNetwork
from electrify.progress import Bar, bar
from electrify.tasks.answering import QuestionAnswering
from electrify.tasks.batches import Place, choose_place, num_cut
from electrify.tasks.judgement import Judgement
from electrify.tasks.kinds import Fields, build_task, check_kind, read_part
from electrify.tasks.networks import Init, new_network
from electrify.tasks.run import SeedResult, SeedRun, Stream
from electrify.tasks.task import Encoded, Task
from electrify.verbs.baseline import check_baseline, compare_with
from electrify.verbs.finetune_report import FinetuneReport, publish, summarise, summarise_metrics
from electrify.verbs.finetune_state import Finished, Trained, WorkFolder, digest_inputs

_LOG = logging.getLogger(__name__)
SEEDS = (0, 1, 2, 3, 4)
_ONLY = ""  # name of the task where there is only one

__all__ = ["FinetuneReport", "finetune", "summarise"]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What all seeds have in common."""

    folder: Path
    tokenizer: Tokenizer
    task: Task
    parts: dict[str, Encoded]
    metric: str
    config: FinetuneConfig
    init: Init
    place: Place


def finetune(
    model: str | Path,
    *,
    train: str | Path,
    validation: str | Path,
    output: str | Path,
    test: str | Path | None = None,
    task: str = "classification",
    init: Init = "pretrained",
    seeds: Sequence[int] = SEEDS,
    config: FinetuneConfig | None = None,
    fields: Fields | None = None,
    text_field: str | None = None,
    text_b_field: str | None = None,
    label_field: str | None = None,
    baseline: str | Path | None = None,
    max_bad_share: float = 0.0,
    resume: bool = False,
    overwrite: bool = False,
) -> FinetuneReport:
    """Train a network for a labelled task from an encoder.

    Args:
        model: Published folder (a run's `discriminator/`, a folder from Transformers, a fine-tuned one) or hub name.
        train: Labelled examples: .jsonl, .csv, .tsv or .parquet, also compressed; SQuAD's .json for questions.
        validation: The part that chooses the best epoch and seed.
        output: Folder for the network, `results.json` and the judgements of all seeds.
        test: A part that chooses nothing and is only measured.
        task: Kind of task, one of `tasks.kinds.KINDS`.
        init: "random" draws the whole network anew: what pre-training is worth.
        seeds: One run each.
        config: Settings; ELECTRA's by default.
        fields: Names of the fields of the files.
        text_field: Field of the text; the same as in `fields`, as are the next two.
        text_b_field: Field of a pair's second text.
        label_field: Field of the label.
        baseline: Output of another run on the same validation and test files, to compare with.
        max_bad_share: Highest share of rows that cannot be used; they are left out and counted.
        resume: Go on with what an interrupted run left beside `output`.
        overwrite: Replace what is in `output`.

    Raises:
        ConfigError: If a setting is wrong.
        DataError: If a labelled file can not be used or a part has a label that training has not.
        CheckpointError: If `model` can not be used.
    """
    config = config or FinetuneConfig()
    check_kind(task)
    check_seeds(seeds)
    target = Path(output)
    names = fields or Fields(text_field, text_b_field, label_field)
    files = {"train": train, "validation": validation} | ({"test": test} if test is not None else {})
    refuse_existing(target, overwrite=overwrite, inputs=[*files.values(), model, baseline])
    folder = resolve_folder(model)
    tokenizer = load_tokenizer(folder)
    check_length(folder, config)
    examples, rejects = read_parts(task, files, fields=names, max_bad_share=max_bad_share)
    prepared = _prepare(folder, tokenizer, build_task(task, examples["train"], config), examples, config, init)
    if baseline is not None:
        check_baseline(baseline, examples, task=prepared.task)
    settings = {**config.model_dump(), "model": str(model), **{part: str(path) for part, path in files.items()}}
    request = {"settings": settings, "task": task, "init": init, "seeds": list(seeds), "fields": names.as_json()}
    inputs = digest_inputs(folder, files)
    work = WorkFolder(target, {**request, "max_bad_share": max_bad_share, **inputs})
    work.begin(resume=resume, overwrite=overwrite)

    results: list[SeedResult] = []
    judgements: dict[tuple[int, str], Judgement] = {}
    best: Finished | None = None
    with bar("Fine-tuning", total=float(config.num_epochs * len(seeds))) as progress:
        for seed in seeds:
            finished = _train_seed(prepared, seed, work, progress)
            results.append(finished.result)
            judgements |= {(seed, part): judgement for part, judgement in finished.trained[_ONLY].judgements.items()}
            if best is None or _score(finished.result, prepared) > _score(best.result, prepared):
                best = finished
    assert best is not None
    trained = best.trained[_ONLY]
    comparison = None
    if baseline is not None:
        comparison = compare_with(baseline, judgements, metric=prepared.metric, task=trained.task)
    report = FinetuneReport(
        output=str(target),
        task=task,
        init=init,
        metric=prepared.metric,
        labels=list(prepared.task.labels),
        num_train=len(examples["train"]),
        num_validation=len(examples["validation"]),
        num_test=len(examples.get("test", [])),
        num_cut_examples=num_cut(list(prepared.parts.values())),
        validation=summarise([_score(one, prepared) for one in results]),
        test=summarise([one.test[prepared.metric] for one in results if one.test]) if test is not None else None,
        published_seed=best.result.seed,
        seeds=results,
        settings=settings,
        inputs=inputs,
        counts={part: encoded.counts for part, encoded in prepared.parts.items() if encoded.counts},
        validation_metrics=summarise_metrics([one.validation for one in results]),
        test_metrics=summarise_metrics([one.test for one in results if one.test]),
        num_rejected={part: dict(one.counts) for part, one in rejects.items() if one.num_bad},
        rejected_places={part: one.describe() for part, one in rejects.items() if one.num_bad},
        comparison=comparison,
    )
    publish(trained.network, trained.task, tokenizer, config, report, judgements, target)
    work.remove()
    return report


def read_parts(
    kind: str, files: Mapping[str, str | Path], *, fields: Fields | None, max_bad_share: float
) -> tuple[dict[str, list[Any]], dict[str, Rejects]]:
    """Read all parts of a task.

    Args:
        kind: Of the task.
        files: By part.
        fields: Names of their fields.
        max_bad_share: Highest share of bad rows in each.

    Returns:
        The examples, and what was left out, both by part.

    Raises:
        DataError: If too much of a part is bad.
    """
    rejects = {part: Rejects(max_bad_share) for part in files}
    examples = {part: read_part(kind, path, fields=fields, rejects=rejects[part]) for part, path in files.items()}
    return examples, rejects


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that are none, too large for a generator, or named twice.

    Raises:
        ConfigError: Naming the first.
    """
    if not seeds:
        raise ConfigError("seeds is empty; give at least one.")
    for seed in seeds:
        if not 0 <= seed < 1 << 63:
            raise ConfigError(f"seeds: {seed} is none; a seed is a whole number from 0 to 2⁶³ - 1.")
        if seeds.count(seed) > 1:
            raise ConfigError(f"seeds: {seed} is named twice, which would count one run as two.")


def check_length(folder: Path, config: FinetuneConfig) -> None:
    """Refuse rows that the model cannot take.

    Raises:
        ConfigError: Saying how long they may be.
    """
    limit = read_config(folder).max_position_embeddings
    if config.max_length > limit:
        raise ConfigError(f"max_length = {config.max_length}, but the model in {folder} takes {limit} tokens at most.")


def choose_metric(task: Task, wanted: str | None, validation: Sequence[Any]) -> str:
    """Return the metric that chooses the best epoch.

    Args:
        task: What is trained.
        wanted: Its name; the task's first if None.
        validation: The examples that are measured.

    Raises:
        ConfigError: If these labels or examples have none of that name.
    """
    known = task.measurable(validation) if isinstance(task, QuestionAnswering) else task.metrics
    if wanted is not None and wanted not in known:
        where = " on this validation part" if wanted in task.metrics else ""
        raise ConfigError(f"metric: {task.kind} has no '{wanted}'{where}.{did_you_mean(wanted, known)}")
    return wanted or known[0]


def encode_parts(
    task: Task, examples: dict[str, list[Any]], tokenizer: Tokenizer, max_length: int
) -> dict[str, Encoded]:
    """Encode all parts, and say what had to be cut or repaired."""
    parts = {
        part: task.encode(some, tokenizer, max_length=max_length, is_training=part == "train")
        for part, some in examples.items()
    }
    total = num_cut(list(parts.values()))
    if total:
        num_examples = sum(len(one) for one in examples.values())
        _LOG.warning("%d of %d examples were longer than %d tokens and were cut.", total, num_examples, max_length)
    for part, encoded in parts.items():
        for name, count in encoded.counts.items():
            _LOG.warning("%s: %d %s.", part, count, name)
    return parts


def _prepare(
    folder: Path,
    tokenizer: Tokenizer,
    task: Task,
    examples: dict[str, list[Any]],
    config: FinetuneConfig,
    init: Init,
) -> _Prepared:
    return _Prepared(
        folder=folder,
        tokenizer=tokenizer,
        task=task,
        parts=encode_parts(task, examples, tokenizer, config.max_length),
        metric=choose_metric(task, config.metric, examples["validation"]),
        config=config,
        init=init,
        place=choose_place(config.precision, pad_id=tokenizer.pad_id),
    )


def _train_seed(prepared: _Prepared, seed: int, work: WorkFolder, progress: Bar) -> Finished:
    known = work.finished(seed, {_ONLY: prepared.task})
    if known is not None:
        progress.advance(prepared.config.num_epochs)
        return known
    network: TaskNetwork = new_network(
        prepared.folder, prepared.task, init=prepared.init, seed=seed, dropout=prepared.config.dropout
    )
    stream = Stream(_ONLY, prepared.task, prepared.parts, network, prepared.metric)
    run = SeedRun(
        [stream],
        prepared.config,
        seed=seed,
        place=prepared.place,
        folder=work.states(seed),
        before_save=work.note_request,
    )
    run.train(progress)
    judgements = run.judge()[0]
    test = judgements.get("test")
    result = SeedResult(
        seed=seed,
        best_epoch=run.best_epoch,
        validation=judgements["validation"].metrics(),
        test=None if test is None else test.metrics(),
        history=run.history,
    )
    finished = Finished(result, {_ONLY: Trained(stream.task, stream.network, judgements)})
    work.save_finished(finished, prepared.tokenizer, prepared.config)
    return finished


def _score(result: SeedResult, prepared: _Prepared) -> float:
    return result.validation[prepared.metric]
