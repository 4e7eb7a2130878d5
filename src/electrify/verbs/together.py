"""Fine-tune one body on several tasks at once: shared layers, a head each, steps mixed by size or temperature.

The output has one published folder a task, each with the same body, so every one of them opens alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electrify.config import FinetuneConfig
from electrify.data.tokenizer import load_tokenizer
from electrify.errors import ConfigError
from electrify.files import new_folder, refuse_existing, write_json
from electrify.models.checkpoint import resolve_folder
from electrify.progress import bar
from electrify.runs import describe_environment
from electrify.tasks.batches import choose_place
from electrify.tasks.kinds import Fields, build_task, check_kind, read_part
from electrify.tasks.networks import new_network, share_body
from electrify.tasks.run import SeedRun, Stream
from electrify.verbs.finetune import SEEDS, check_length, choose_metric, encode_parts
from electrify.verbs.finetune_report import summarise, summarise_metrics
from electrify.verbs.finetuned import save_finetuned


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
    """By task: "kind", "metric", and "validation" and "test", each metric summarised over the seeds."""
    mean: dict[str, Any]
    """Mean over tasks of their validation metrics, summarised over the seeds; it chooses epoch and seed."""
    published_seed: int
    seeds: list[int]
    settings: dict[str, Any]


def finetune_together(
    model: str | Path,
    tasks: Sequence[TaskFiles],
    *,
    output: str | Path,
    seeds: Sequence[int] = SEEDS,
    config: FinetuneConfig | None = None,
    temperature: float = 1.0,
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
        overwrite: Replace what is in `output`.

    Raises:
        ConfigError: If a setting is wrong or names repeat.
        DataError: If a file can not be used.
    """
    config = config or FinetuneConfig()
    _check(tasks, temperature)
    target = Path(output)
    refuse_existing(target, overwrite=overwrite)
    folder = resolve_folder(model)
    tokenizer = load_tokenizer(folder)
    check_length(folder, config)
    place = choose_place(config.precision, pad_id=tokenizer.pad_id)
    prepared = []
    for one in tasks:
        examples = {
            part: read_part(one.kind, path, fields=one.fields, max_bad_share=one.max_bad_share)
            for part, path in one.files.items()
        }
        task = build_task(one.kind, examples["train"], config)
        prepared.append((one, task, encode_parts(task, examples, tokenizer, config.max_length)))

    best: tuple[float, int, list[Stream]] | None = None
    scores: dict[str, dict[str, list[dict[str, float]]]] = {one.name: {} for one in tasks}
    means: list[float] = []
    with bar("Fine-tuning", total=float(config.num_epochs * len(seeds))) as progress:
        for seed in seeds:
            networks = [
                new_network(folder, task, init="pretrained", seed=seed, dropout=config.dropout)
                for _, task, _ in prepared
            ]
            share_body(networks)
            streams = [
                Stream(one.name, task, parts, network, choose_metric(task, one.metric))
                for (one, task, parts), network in zip(prepared, networks, strict=True)
            ]
            run = SeedRun(streams, config, seed=seed, place=place, temperature=temperature)
            run.train(progress)
            values = []
            for stream, judgements in zip(streams, run.judge(), strict=True):
                for part, judgement in judgements.items():
                    scores[stream.name].setdefault(part, []).append(judgement.metrics())
                values.append(scores[stream.name]["validation"][-1][stream.metric])
            means.append(sum(values) / len(values))
            if best is None or means[-1] > best[0]:
                best = means[-1], seed, streams
    assert best is not None
    report = TogetherReport(
        output=str(target),
        tasks={
            stream.name: {
                "kind": stream.task.kind,
                "metric": stream.metric,
                **{part: summarise_metrics(values) for part, values in scores[stream.name].items()},
            }
            for stream in best[2]
        },
        mean=summarise(means),
        published_seed=best[1],
        seeds=list(seeds),
        settings={**config.model_dump(), "model": str(model), "temperature": temperature},
    )
    with new_folder(target) as temporary:
        for stream in best[2]:
            (temporary / stream.name).mkdir()
            save_finetuned(temporary / stream.name, stream.network, stream.task, tokenizer, config)
        write_json(temporary / "results.json", {**asdict(report), "environment": describe_environment()})
    return report


def _check(tasks: Sequence[TaskFiles], temperature: float) -> None:
    names = [one.name for one in tasks]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"tasks must have different names, got {', '.join(names) or 'none'}.")
    if temperature < 1:
        raise ConfigError(f"temperature must be 1 or more, got {temperature}.")
    for one in tasks:
        check_kind(one.kind)
