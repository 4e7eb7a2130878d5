"""What fine-tuning came to: figures of all seeds, and the folder that holds the best one's network."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from electrify import __version__
from electrify.config import FinetuneConfig
from electrify.data.tokenizer import Tokenizer
from electrify.files import new_folder, write_json, write_manifest, write_text
from electrify.models.heads import TaskNetwork
from electrify.runs import describe_environment
from electrify.tasks.bootstrap import Comparison
from electrify.tasks.judgement import Judgement, write_columns
from electrify.tasks.run import SeedResult
from electrify.tasks.task import Task
from electrify.verbs.finetuned import save_finetuned

JUDGEMENTS = "judgements"
_USES = {
    "sequence": ("text-classification", "text classifier"),
    "first_token": ("token-classification", "text classifier (read the first token)"),
    "tokens": ("token-classification", "tagger"),
    "question": ("question-answering", "question answerer"),
    "joint_question": ("", "question answerer with ELECTRA's joint head"),
    "choice": ("", "chooser of one of several texts"),
    "intent_slots": ("", "reader of intents and slots"),
}


@dataclass(frozen=True, slots=True)
class FinetuneReport:
    """All seeds together."""

    output: str
    task: str
    init: str
    metric: str
    labels: list[str]
    num_train: int
    num_validation: int
    num_test: int
    num_cut_examples: int
    """Examples of all parts that were longer than max_length and were cut."""
    validation: dict[str, Any]
    """{"values", "median", "mean", "std"} of the metric; std is None for one seed."""
    test: dict[str, Any] | None
    """The same on the test part, with the epoch chosen by the validation part."""
    published_seed: int
    seeds: list[SeedResult]
    settings: dict[str, Any]
    inputs: dict[str, Any]
    """Digests of the model's files and of the data."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """What was cut or repaired in each part, by name."""
    num_rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rows of each part that could not be used and were left out, by what is wrong."""
    rejected_places: dict[str, str] = field(default_factory=dict)
    """The same on one line with the first places of each kind, as `path:row`."""
    validation_metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """All metrics of the validation part, summarised like `validation`."""
    test_metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    comparison: Comparison | None = None
    """Against a baseline run, if one was given; on the test part if both have one, else on validation."""


def summarise(values: list[float]) -> dict[str, Any]:
    """Return values with their median, mean and sample standard deviation (None for a single value)."""
    return {
        "values": values,
        "median": statistics.median(values),
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
    }


def summarise_metrics(metrics: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Return the summary of every metric that all seeds have."""
    names = [name for name in (metrics[0] if metrics else {}) if all(name in one for one in metrics)]
    return {name: summarise([one[name] for one in metrics]) for name in names}


def publish(
    network: TaskNetwork,
    task: Task,
    tokenizer: Tokenizer,
    config: FinetuneConfig,
    report: FinetuneReport,
    judgements: dict[tuple[int, str], Judgement],
    target: Path,
) -> None:
    """Write the folder of a fine-tuned network, complete or not at all.

    Args:
        network: The best seed's.
        task: With what was fitted to it.
        tokenizer: What it reads with.
        config: How it was trained.
        report: What is written as `results.json` and into the model card.
        judgements: By seed and part; kept for comparisons with other runs.
        target: The folder.
    """
    std = report.validation["std"]
    spread = f" ± {std:.4f} over {len(report.seeds)} seeds" if std is not None else " (one seed)"
    text = f"""Validation {report.metric}: {report.validation["mean"]:.4f}{spread}; the network here is that of seed
{report.published_seed}. Trained on {report.num_train:,} examples, chosen by {report.num_validation:,}."""
    origin = "random weights" if report.init == "random" else "a pre-trained encoder"
    with new_folder(target) as temporary:
        write_json(temporary / "results.json", {**asdict(report), "environment": describe_environment()})
        card = model_card(type(network).__name__, task, origin=origin, text=text, settings=report.settings)
        write_published(temporary, network, task, tokenizer, config, card=card)
        (temporary / JUDGEMENTS).mkdir()
        for (seed, part), judgement in judgements.items():
            write_columns(judgement.columns, temporary / JUDGEMENTS / f"seed-{seed}-{part}.safetensors")


def write_published(
    folder: Path, network: TaskNetwork, task: Task, tokenizer: Tokenizer, config: FinetuneConfig, *, card: str
) -> None:
    """Write a network with its model card and its manifest into a folder that is there."""
    save_finetuned(folder, network, task, tokenizer, config)
    write_text(folder / "README.md", card)
    write_manifest(folder, leave_out=["README.md", "results.json"])


def model_card(network: str, task: Task, *, origin: str, text: str, settings: Mapping[str, Any]) -> str:
    """Return the model card of a fine-tuned network.

    Args:
        network: Its class.
        task: What it was trained for.
        origin: What it was trained from, as "a pre-trained encoder".
        text: What came of it.
        settings: How it was trained.
    """
    pipeline, what = _USES[task.head]
    lines = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
    labels = f" with the labels {', '.join(f'`{label}`' for label in task.labels)}" if task.labels else ""
    use = f'from transformers import pipeline\n\nmodel = pipeline("{pipeline}", model="PATH")'
    if not pipeline:
        use = 'import electrify\n\nresult = electrify.predict("PATH", examples)'
    return f"""---
library_name: transformers
tags: [electrify{f", {pipeline}" if pipeline else ""}]
---

# {what.capitalize()}

`{network}`{labels}, fine-tuned with electrify {__version__} from {origin}.

```python
{use}
```

{text}

| | |
|---|---|
{lines}
"""
