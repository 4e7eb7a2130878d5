"""Fine-tuning a published encoder on labelled examples, over several seeds.

Read `finetune` first. Every seed draws its own head, order and dropout; its best epoch by the validation part is kept,
and the best seed's network is what the output folder holds.
"""

import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from electrify import __version__
from electrify.config import FinetuneConfig, OptimizerConfig, ScheduleConfig
from electrify.data.batching import batches_by_length
from electrify.data.labelled import Example, read_examples
from electrify.data.tokenizer import Tokenizer, load_tokenizer
from electrify.errors import ConfigError, TrainingError, did_you_mean
from electrify.files import new_folder, refuse_existing, write_json, write_text
from electrify.models.checkpoint import read_config, resolve_folder, save_model
from electrify.models.dropout import Dropout
from electrify.models.electra import ElectraConfig
from electrify.models.heads import SequenceClassifier
from electrify.noise import row_keys
from electrify.progress import Bar, bar
from electrify.runs import describe_environment
from electrify.tasks import classification
from electrify.tasks.features import Features, batch_inputs, encode_examples
from electrify.training.optimizers import Adam, ParameterGroup, split_by_decay
from electrify.training.precision import autocast, choose_device, resolve_precision
from electrify.training.schedules import learning_rate_factor
from electrify.verbs.loading import load_classifier, new_classifier

_LOG = logging.getLogger(__name__)
_PREDICT_BATCH = 64
TASKS = ("classification",)


@dataclass(frozen=True, slots=True)
class Part:
    """One labelled part, encoded."""

    features: Features
    targets: Tensor
    """Label numbers, (N,) int64."""


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What one seed came to."""

    seed: int
    best_epoch: int
    """Counted from 1."""
    validation: dict[str, float]
    test: dict[str, float] | None
    history: list[dict[str, float]]
    """Training loss and validation figures of each epoch."""


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


def finetune(
    model: str | Path,
    *,
    train: str | Path,
    validation: str | Path,
    output: str | Path,
    test: str | Path | None = None,
    task: str = "classification",
    init: Literal["pretrained", "random"] = "pretrained",
    seeds: Sequence[int] = (0,),
    config: FinetuneConfig | None = None,
    text_field: str = "text",
    text_b_field: str | None = None,
    label_field: str = "label",
    overwrite: bool = False,
) -> FinetuneReport:
    """Train a classifier from an encoder.

    Args:
        model: Published folder (a run's `discriminator/`, a folder from Transformers) or hub name.
        train: Labelled examples: .jsonl, .csv, .tsv or .parquet, also compressed.
        validation: The part that chooses the best epoch and seed.
        output: Folder for the classifier and `results.json`.
        test: A part that chooses nothing and is only measured.
        task: Kind of label; "classification".
        init: "random" draws the whole network anew: what pre-training is worth.
        seeds: One run each.
        config: Settings; ELECTRA's by default.
        text_field: Column of the text.
        text_b_field: Column of a pair's second text.
        label_field: Column of the label.
        overwrite: Replace what is in `output`.

    Raises:
        ConfigError: If a setting is wrong.
        DataError: If a labelled file can not be used or a part has a label that training has not.
        CheckpointError: If `model` can not be used.
    """
    config = config or FinetuneConfig()
    if task not in TASKS:
        raise ConfigError(f"no task '{task}'.{did_you_mean(task, TASKS)}")
    if not seeds:
        raise ConfigError("seeds is empty; give at least one.")
    target = Path(output)
    refuse_existing(target, overwrite=overwrite)
    folder = resolve_folder(model)
    tokenizer = load_tokenizer(folder)
    limit = read_config(folder).max_position_embeddings
    if config.max_length > limit:
        raise ConfigError(f"max_length = {config.max_length}, but the model in {folder} takes {limit} tokens at most.")
    files = {"train": train, "validation": validation} | ({"test": test} if test is not None else {})
    examples = {
        part: read_examples(path, text_field=text_field, text_b_field=text_b_field, label_field=label_field)
        for part, path in files.items()
    }
    labels = classification.find_labels(examples["train"])
    parts = {part: _encode(examples[part], tokenizer, labels, config, source=str(path)) for part, path in files.items()}
    num_cut = sum(part.features.num_cut_examples for part in parts.values())
    if num_cut:
        _LOG.warning(
            "%d of %d examples were longer than %d tokens and were cut.",
            num_cut, sum(len(one) for one in examples.values()), config.max_length,
        )  # fmt: skip

    results: list[SeedResult] = []
    best: SequenceClassifier | None = None
    num_epochs = config.num_epochs * len(seeds)
    with bar("Fine-tuning", total=float(num_epochs)) as progress:
        for seed in seeds:
            network = _build(folder, labels, init=init, seed=seed, dropout=config.dropout)
            result = _train_one(network, parts, config, seed=seed, pad_id=tokenizer.pad_id, progress=progress)
            results.append(result)
            if best is None or result is max(results, key=lambda one: one.validation[config.metric]):
                best = network
    assert best is not None
    report = FinetuneReport(
        output=str(target),
        task=task,
        init=init,
        metric=config.metric,
        labels=labels,
        num_train=len(examples["train"]),
        num_validation=len(examples["validation"]),
        num_test=len(examples.get("test", [])),
        num_cut_examples=num_cut,
        validation=summarise([one.validation[config.metric] for one in results]),
        test=summarise([one.test[config.metric] for one in results if one.test]) if test is not None else None,
        published_seed=max(results, key=lambda one: one.validation[config.metric]).seed,
        seeds=results,
        settings={**config.model_dump(), "model": str(model), **{part: str(path) for part, path in files.items()}},
    )
    _publish(best, tokenizer, report, target)
    return report


def summarise(values: list[float]) -> dict[str, Any]:
    """Return values with their median, mean and sample standard deviation (None for a single value)."""
    return {
        "values": values,
        "median": statistics.median(values),
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
    }


def predict_logits(
    network: SequenceClassifier, features: Features, *, pad_id: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the logits of all examples in their order, (N, C) float32; longest examples are computed together."""
    order = np.argsort(features.lengths, kind="stable")[::-1]
    chunks = []
    with torch.no_grad(), autocast(device, dtype):
        for start in range(0, len(order), _PREDICT_BATCH):
            inputs = batch_inputs(features, order[start : start + _PREDICT_BATCH], pad_id=pad_id, device=device)
            chunks.append(network(inputs).float().cpu())
    logits = torch.cat(chunks)
    return torch.empty_like(logits).index_copy_(0, torch.from_numpy(order.copy()), logits)


def _encode(
    examples: list[Example], tokenizer: Tokenizer, labels: list[str], config: FinetuneConfig, *, source: str
) -> Part:
    targets = classification.encode_labels(examples, labels, source=source)
    return Part(encode_examples(examples, tokenizer, max_length=config.max_length), targets)


def _build(folder: Path, labels: list[str], *, init: str, seed: int, dropout: float) -> SequenceClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if init == "random":
            network = new_classifier(read_config(folder), labels)
        else:
            network = load_classifier(folder, new_labels=labels)
    for module in network.modules():
        if isinstance(module, Dropout):
            module.p = dropout
    return network


def _layerwise_groups(network: SequenceClassifier, decay: float) -> list[ParameterGroup]:
    """Group parameters by depth: the head at the full rate, each layer below at `decay` times the one above.

    Source: Clark et al. 2020 (ELECTRA), appendix B; the embeddings are the lowest layer.
    """
    blocks = network.body.blocks
    depth_of = {id(parameter): depth for depth, block in enumerate(blocks, start=1) for parameter in block.parameters()}
    body = {id(parameter) for parameter in network.body.parameters()}
    at_depth: dict[int, dict[str, nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        above_all = len(blocks) if _is_final_norm(name) else 0
        depth = depth_of.get(id(parameter), above_all) if id(parameter) in body else len(blocks) + 1
        at_depth.setdefault(depth, {})[name] = parameter
    return [
        group
        for depth, named in sorted(at_depth.items())
        for group in split_by_decay(named.items(), learning_rate_scale=decay ** (len(blocks) + 1 - depth))
    ]


def _is_final_norm(name: str) -> bool:
    return "final_norm" in name


def _train_one(
    network: SequenceClassifier,
    parts: dict[str, Part],
    config: FinetuneConfig,
    *,
    seed: int,
    pad_id: int,
    progress: Bar,
) -> SeedResult:
    device = choose_device()
    dtype = resolve_precision(config.precision, device)
    network.to(device)
    train = parts["train"]
    batches_an_epoch = math.ceil(len(train.targets) / config.batch_size)
    num_steps = batches_an_epoch * config.num_epochs
    optimizer = Adam(
        _layerwise_groups(network, config.layerwise_lr_decay),
        OptimizerConfig(
            learning_rate=config.learning_rate, weight_decay=config.weight_decay, max_grad_norm=config.max_grad_norm
        ),
    )
    schedule = ScheduleConfig(kind="linear", num_steps=num_steps, warmup_share=config.warmup_share)
    history: list[dict[str, float]] = []
    best_weights: dict[str, Tensor] = {}
    best_epoch = 0
    step = 0
    for epoch in range(config.num_epochs):
        total = 0.0
        batches = batches_by_length(train.features.lengths, batch_size=config.batch_size, seed=seed, epoch=epoch)
        for indices in batches:
            keys = row_keys(seed, step, torch.from_numpy(indices))
            inputs = batch_inputs(train.features, indices, pad_id=pad_id, device=device, dropout_keys=keys)
            with autocast(device, dtype):
                logits = network(inputs)
            loss = classification.loss(logits, train.targets[indices].to(device))
            loss.backward()
            optimizer.step(learning_rate_factor(step / num_steps, schedule))
            total += float(loss.detach()) * len(indices)
            step += 1
            progress.advance(1 / len(batches), text=f"seed {seed}, epoch {epoch + 1} of {config.num_epochs}")
        if not math.isfinite(total):
            raise TrainingError(f"seed {seed}, epoch {epoch + 1}: the loss is not a number. Lower the learning rate.")
        scores = _score(network, parts["validation"], pad_id=pad_id, device=device, dtype=dtype)
        history.append({"epoch": epoch + 1, "train_loss": total / len(train.targets), **scores})
        if best_epoch == 0 or scores[config.metric] > history[best_epoch - 1][config.metric]:
            best_epoch = epoch + 1
            best_weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(best_weights)
    validation = {name: value for name, value in history[best_epoch - 1].items() if name not in ("epoch", "train_loss")}
    test = _score(network, parts["test"], pad_id=pad_id, device=device, dtype=dtype) if "test" in parts else None
    return SeedResult(seed, best_epoch, validation, test, history)


def _score(
    network: SequenceClassifier, part: Part, *, pad_id: int, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    logits = predict_logits(network, part.features, pad_id=pad_id, device=device, dtype=dtype)
    return classification.measure(part.targets.tolist(), logits.argmax(-1).tolist())


def _publish(network: SequenceClassifier, tokenizer: Tokenizer, report: FinetuneReport, target: Path) -> None:
    ours = {"version": __version__, "task": report.task, "max_length": report.settings["max_length"]}
    with new_folder(target) as temporary:
        save_model(network.cpu(), temporary, electrify=ours)
        tokenizer.save(
            temporary,
            max_length=network.config.max_position_embeddings,
            has_token_types=isinstance(network.config, ElectraConfig),
        )
        write_json(temporary / "results.json", {**asdict(report), "environment": describe_environment()})
        write_text(temporary / "README.md", _model_card(type(network).__name__, report))


def _model_card(network: str, report: FinetuneReport) -> str:
    std = report.validation["std"]
    spread = f" ± {std:.4f} over {len(report.seeds)} seeds" if std is not None else " (one seed)"
    settings = "\n".join(f"| {key} | {value} |" for key, value in report.settings.items())
    return f"""---
library_name: transformers
tags: [electrify, text-classification]
---

# Text classifier

`{network}` with the labels {", ".join(f"`{label}`" for label in report.labels)}, fine-tuned with
electrify {__version__} from {"random weights" if report.init == "random" else "a pre-trained encoder"}.

```python
from transformers import pipeline

classify = pipeline("text-classification", model="PATH")
```

Validation {report.metric}: {report.validation["mean"]:.4f}{spread}; the network here is that of seed
{report.published_seed}. Trained on {report.num_train:,} examples, chosen by {report.num_validation:,}.

| | |
|---|---|
{settings}
"""
