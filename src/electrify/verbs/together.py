"""Fine-tune one body on several tasks at once: shared layers, a head each, steps mixed by size or temperature.

The output has one published folder a task, each with the same body, so every one of them opens alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electrify.config import FinetuneConfig
from electrify.data.rejects import Rejects
from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError
from electrify.files import new_folder, refuse_existing, write_json
from electrify.models.checkpoint import resolve_folder
from electrify.progress import Bar, bar
from electrify.runs import describe_environment
from electrify.tasks.batches import choose_place
from electrify.tasks.judgement import Judgement
from electrify.tasks.kinds import Fields, build_task, check_kind
from electrify.tasks.networks import new_network, share_body
from electrify.tasks.run import SeedResult, SeedRun, Stream
from electrify.tasks.task import Encoded, Task
from electrify.verbs.finetune import SEEDS, check_length, check_seeds, choose_metric, encode_parts, read_parts
from electrify.verbs.finetune_report import model_card, summarise, summarise_metrics, write_published
from electrify.verbs.finetune_state import Finished, Trained, WorkFolder, digest_inputs


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """One of several tasks."""

    name: str
    kind: str
    train: str | Path
    validation: str | Path
    test: str | Path | None = None
    fields: Fields | None = None
    metric: str | None = None
    """What counts of this task; its first metric if not given."""
    max_bad_share: float = 0.0

    @property
    def files(self) -> dict[str, str | Path]:
        """Return the files by part."""
        files = {"train": self.train, "validation": self.validation}
        return files | ({"test": self.test} if self.test is not None else {})


@dataclass(frozen=True, slots=True)
class TogetherReport:
    """All tasks and seeds together."""

    output: str
    tasks: dict[str, dict[str, Any]]
    """By task: "kind", "metric", "validation" and "test" with each metric summarised over the seeds, and what was left
    out of each part ("num_rejected", "rejected_places")."""
    mean: dict[str, Any]
    """Mean over tasks of their validation metrics, summarised over the seeds; it chooses epoch and seed."""
    published_seed: int
    seeds: list[int]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What all seeds have in common."""

    folder: Path
    tokenizer: Tokenizer
    tasks: dict[str, Task]
    parts: dict[str, dict[str, Encoded]]
    metrics: dict[str, str]
    """By task, as the two above."""
    config: FinetuneConfig
    temperature: float


def finetune_together(
    model: str | Path,
    tasks: Sequence[TaskFiles],
    *,
    output: str | Path,
    seeds: Sequence[int] = SEEDS,
    config: FinetuneConfig | None = None,
    temperature: float = 1.0,
    resume: bool = False,
    overwrite: bool = False,
) -> TogetherReport:
    """Train one body on several tasks.

    Args:
        model: Published folder of an encoder.
        tasks: Two or more, with different names.
        output: Folder; each task's network is in a folder of its name.
        seeds: One run each.
        config: Settings, the same for all.
        temperature: 1 mixes steps by the size of the tasks, higher more evenly; see `tasks.mixing`.
        resume: Go on with what an interrupted run left beside `output`.
        overwrite: Replace what is in `output`.

    Raises:
        ConfigError: If a setting is wrong or names repeat.
        DataError: If a file can not be used.
    """
    config = config or FinetuneConfig()
    _check(tasks, seeds, temperature)
    target = Path(output)
    paths = {f"{one.name}, {part}": path for one in tasks for part, path in one.files.items()}
    refuse_existing(target, overwrite=overwrite, inputs=[*paths.values(), model])
    folder = resolve_folder(model)
    check_length(folder, config)
    prepared = _Prepared(folder, load_tokenizer(folder), {}, {}, {}, config, temperature)
    rejects: dict[str, dict[str, Rejects]] = {}
    for one in tasks:
        examples, rejects[one.name] = read_parts(
            one.kind, one.files, fields=one.fields, max_bad_share=one.max_bad_share
        )
        own = config if one.metric is None else config.model_copy(update={"metric": one.metric})
        task = build_task(one.kind, examples["train"], own)
        prepared.tasks[one.name] = task
        prepared.parts[one.name] = encode_parts(task, examples, prepared.tokenizer, config.max_length)
        prepared.metrics[one.name] = choose_metric(task, own.metric, examples["validation"])
    settings = {**config.model_dump(), "model": str(model), "temperature": temperature}
    files = {
        one.name: {
            "kind": one.kind,
            **{part: str(path) for part, path in one.files.items()},
            "fields": (one.fields or Fields()).as_json(),
            "metric": one.metric,
            "max_bad_share": one.max_bad_share,
        }
        for one in tasks
    }
    request = {"settings": settings, "tasks": files, "seeds": list(seeds), **digest_inputs(folder, paths)}
    work = WorkFolder(target, request)
    work.begin(resume=resume, overwrite=overwrite)

    best: Finished | None = None
    means: list[float] = []
    judged: list[dict[str, dict[str, Judgement]]] = []  # of each seed, by task and part
    with bar("Fine-tuning", total=float(config.num_epochs * len(seeds))) as progress:
        for seed in seeds:
            finished = _train_seed(prepared, seed, work, progress)
            means.append(_mean_score(finished, prepared))
            judged.append({name: one.judgements for name, one in finished.trained.items()})
            if best is None or means[-1] > max(means[:-1]):
                best = finished
    assert best is not None
    report = TogetherReport(
        output=str(target),
        tasks={
            name: {
                "kind": task.kind,
                "metric": prepared.metrics[name],
                "num_rejected": {part: dict(one.counts) for part, one in rejects[name].items() if one.num_bad},
                "rejected_places": {part: one.describe() for part, one in rejects[name].items() if one.num_bad},
                **{
                    part: summarise_metrics([one[name][part].metrics() for one in judged])
                    for part in prepared.parts[name]
                    if part != "train"
                },
            }
            for name, task in prepared.tasks.items()
        },
        mean=summarise(means),
        published_seed=best.result.seed,
        seeds=list(seeds),
        settings=settings,
    )
    with new_folder(target) as temporary:
        for name, trained in best.trained.items():
            (temporary / name).mkdir()
            card = _card(report, name, trained, prepared.metrics[name])
            write_published(temporary / name, trained.network, trained.task, prepared.tokenizer, config, card=card)
        write_json(temporary / "results.json", {**asdict(report), "environment": describe_environment()})
    work.remove()
    return report


def _card(report: TogetherReport, name: str, trained: Trained, metric: str) -> str:
    others = " and ".join(other for other in report.tasks if other != name)
    score = report.tasks[name]["validation"][metric]["mean"]
    return model_card(
        type(trained.network).__name__,
        trained.task,
        origin=f"a pre-trained encoder, together with {others}" if others else "a pre-trained encoder",
        text=f"Validation {metric}: {score:.4f}, mean of {len(report.seeds)} runs; the network here is that of seed "
        f"{report.published_seed}.",
        settings=report.settings,
    )


def _train_seed(prepared: _Prepared, seed: int, work: WorkFolder, progress: Bar) -> Finished:
    known = work.finished(seed, prepared.tasks)
    if known is not None:
        progress.advance(prepared.config.num_epochs)
        return known
    config = prepared.config
    networks = [
        new_network(prepared.folder, task, init="pretrained", seed=seed, dropout=config.dropout)
        for task in prepared.tasks.values()
    ]
    share_body(networks)
    streams = [
        Stream(name, task, prepared.parts[name], network, prepared.metrics[name])
        for (name, task), network in zip(prepared.tasks.items(), networks, strict=True)
    ]
    run = SeedRun(
        streams,
        config,
        seed=seed,
        place=choose_place(config.precision, pad_id=prepared.tokenizer.pad_id),
        temperature=prepared.temperature,
        folder=work.states(seed),
        before_save=work.note_request,
    )
    run.train(progress)
    trained = {
        stream.name: Trained(stream.task, stream.network, judgements)
        for stream, judgements in zip(streams, run.judge(), strict=True)
    }
    validation = {
        f"{name}.{metric}": value
        for name, one in trained.items()
        for metric, value in one.judgements["validation"].metrics().items()
    }
    finished = Finished(SeedResult(seed, run.best_epoch, validation, None, run.history), trained)
    work.save_finished(finished, prepared.tokenizer, config)
    return finished


def _mean_score(finished: Finished, prepared: _Prepared) -> float:
    scores = [finished.result.validation[f"{name}.{metric}"] for name, metric in prepared.metrics.items()]
    return sum(scores) / len(scores)


def _check(tasks: Sequence[TaskFiles], seeds: Sequence[int], temperature: float) -> None:
    check_seeds(seeds)
    names = [one.name for one in tasks]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"tasks must have different names, got {', '.join(names) or 'none'}.")
    if temperature < 1:
        raise ConfigError(f"temperature must be 1 or more, got {temperature}.")
    for one in tasks:
        check_kind(one.kind)
