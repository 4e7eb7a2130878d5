"""Fine-tune the same published folder here and with Transformers' Trainer: the same rows, epochs, seeds and rates.

    python benchmarks/against_trainer.py MODEL TASK_DIR --kind classification --seeds 0 1 2
    python benchmarks/against_trainer.py MODEL conll2003_ner/ --kind tagging --rows 2000 --max-length 128

TASK_DIR holds train.jsonl.gz and dev.jsonl.gz (test.jsonl.gz if there is no dev). Both sides measure dev after each
epoch and keep the best one; what is timed is everything from the files to that point, interleaved seed by seed. The
Trainer runs as its users run it: float32, rows padded to the longest of their batch, random order; electrify with its
defaults. Both start from the same values, those of the new head included; with --head published the Trainer keeps what
the folder has of a head, as `from_pretrained` does. Needs `pip install transformers accelerate`.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from electrify.config import FinetuneConfig
from electrify.data.tokenizer_files import load_tokenizer
from electrify.models.checkpoint import save_model
from electrify.tasks.kinds import build_task, read_part
from electrify.tasks.networks import new_network
from electrify.tasks.task import Encoded, Task
from electrify.verbs.finetune import finetune


@dataclass(frozen=True)
class Job:
    """What both sides do."""

    model: Path
    kind: str
    train: Path
    dev: Path
    config: FinetuneConfig
    metric: str
    keeps_head: bool
    """Whether the Trainer starts from the folder's head where names and shapes agree."""


def run_electrify(job: Job, seed: int, folder: Path) -> float:
    report = finetune(
        job.model, task=job.kind, train=job.train, validation=job.dev, output=folder / f"ours-{seed}", seeds=(seed,),
        config=job.config,
    )  # fmt: skip
    return float(report.validation["mean"])


class Rows(torch.utils.data.Dataset):
    """Rows as the Trainer takes them."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def rows_of(encoded: Encoded, kind: str) -> list[dict[str, Any]]:
    """The rows that electrify made, so that both read the same tokens and labels."""
    features = encoded.features
    rows = []
    for index, ids in enumerate(features.ids):
        row: dict[str, Any] = {"input_ids": ids, "attention_mask": [1] * len(ids)}
        if features.type_ids is not None:
            row["token_type_ids"] = features.type_ids[index]
        if kind == "tagging":
            words, targets = encoded.targets[0][index], encoded.targets[1][index]
            labels = np.full(len(ids), -100)
            labels[words.pieces] = targets
            row["labels"] = labels.tolist()
        elif kind == "question_answering":
            row["start_positions"], row["end_positions"] = encoded.targets[index].target
        else:
            row["labels"] = encoded.targets[index].item()
        rows.append(row)
    return rows


AUTO = {
    "classification": transformers.AutoModelForSequenceClassification,
    "regression": transformers.AutoModelForSequenceClassification,
    "tagging": transformers.AutoModelForTokenClassification,
    "question_answering": transformers.AutoModelForQuestionAnswering,
}

DROPOUTS = {
    "electra": ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
    "modernbert": ("embedding_dropout", "attention_dropout", "mlp_dropout", "classifier_dropout"),
}


def judge(task: Task, encoded: Encoded, predictions: Any) -> dict[str, float]:
    """Measure the Trainer's predictions by the same code that measures ours."""
    from electrify.tasks.spans import plain_candidates

    if task.kind == "question_answering":
        starts, ends = predictions
        outputs = [
            plain_candidates(np.stack([start, end], axis=-1), window, task.config.question)
            for start, end, window in zip(starts, ends, encoded.targets, strict=True)
        ]
    elif task.kind == "tagging":
        outputs = [logits[row.pieces] for logits, row in zip(predictions, encoded.targets[0], strict=True)]
    else:
        outputs = list(predictions)
    found = task.decode(outputs, encoded)
    if task.kind == "question_answering" and task.can_be_unanswerable:
        task = replace(task, threshold=task.find_threshold(encoded.examples, found).value)
        found = task.decode(outputs, encoded)
    return task.judge(encoded.examples, found).metrics()


def run_trainer(job: Job, seed: int, folder: Path) -> float:
    tokenizer = load_tokenizer(job.model)
    examples = {"train": read_part(job.kind, job.train), "dev": read_part(job.kind, job.dev)}
    task = build_task(job.kind, examples["train"], job.config)
    parts = {
        name: task.encode(some, tokenizer, max_length=job.config.max_length, is_training=name == "train")
        for name, some in examples.items()
    }
    transformers.set_seed(seed)
    labels = {"id2label": dict(enumerate(task.labels)), "label2id": {label: n for n, label in enumerate(task.labels)}}
    options = labels if task.labels and job.kind != "regression" else {"num_labels": 1} if task.labels else {}
    start = job.model
    if not job.keeps_head:
        start = folder / f"start-{seed}"
        save_model(new_network(job.model, task, init="pretrained", seed=seed, dropout=job.config.dropout), start)
    config = transformers.AutoConfig.from_pretrained(start, **options)
    for name in DROPOUTS[config.model_type]:
        setattr(config, name, job.config.dropout)  # published folders carry that of pre-training
    network = AUTO[job.kind].from_pretrained(start, config=config, ignore_mismatched_sizes=True)
    theirs = transformers.AutoTokenizer.from_pretrained(job.model)
    collate: Callable[..., Any] = transformers.DataCollatorWithPadding(theirs)
    if job.kind == "tagging":
        collate = transformers.DataCollatorForTokenClassification(theirs)
    steps = -(-len(parts["train"].features.ids) // job.config.batch_size) * job.config.num_epochs
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / f"theirs-{seed}"),
        num_train_epochs=job.config.num_epochs,
        per_device_train_batch_size=job.config.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=job.config.learning_rate,
        weight_decay=job.config.weight_decay,
        warmup_steps=int(steps * job.config.warmup_share),
        max_grad_norm=job.config.max_grad_norm,
        adam_epsilon=1e-6,
        seed=seed,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
    )
    best = [-1.0]

    def metrics(prediction: Any) -> dict[str, float]:
        found = judge(task, parts["dev"], prediction.predictions)
        best[0] = max(best[0], found[job.metric])
        return found

    trainer = transformers.Trainer(
        model=network,
        args=arguments,
        train_dataset=Rows(rows_of(parts["train"], job.kind)),
        eval_dataset=Rows(rows_of(parts["dev"], job.kind)),
        data_collator=collate,
        compute_metrics=metrics,
    )
    trainer.train()
    return best[0]


def cut(path: Path, rows: int | None, folder: Path) -> Path:
    """The first rows of a file, as a file."""
    import gzip

    target = folder / path.name.removesuffix(".gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [line for index, line in enumerate(file) if rows is None or index < rows]
    target.write_text("".join(lines), encoding="utf-8")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kind", default="classification", choices=sorted(AUTO))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, help="first rows of train; all by default")
    parser.add_argument("--dev-rows", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--head", default="new", choices=["new", "published"], help="what the Trainer's head starts as")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dev = arguments.data / "dev.jsonl.gz"
        config = FinetuneConfig(
            num_epochs=arguments.epochs, learning_rate=arguments.learning_rate, layerwise_lr_decay=1.0,
            max_length=arguments.max_length, precision=arguments.precision, dropout=arguments.dropout,
        )  # fmt: skip
        metric = {"regression": "spearman", "tagging": "f1", "question_answering": "f1"}.get(arguments.kind, "accuracy")
        job = Job(
            arguments.model, arguments.kind, cut(arguments.data / "train.jsonl.gz", arguments.rows, folder),
            cut(dev if dev.exists() else arguments.data / "test.jsonl.gz", arguments.dev_rows, folder), config, metric,
            arguments.head == "published",
        )  # fmt: skip
        found: dict[str, list[tuple[float, float]]] = {"electrify": [], "Trainer": []}
        for seed in arguments.seeds:
            for who, run in (("electrify", run_electrify), ("Trainer", run_trainer)):
                started = time.monotonic()
                score = run(job, seed, folder)
                found[who].append((time.monotonic() - started, score))
                print(f"{who:<10} seed {seed}: {found[who][-1][0]:7.1f} s, {metric} {score:.4f}", flush=True)
    for who, values in found.items():
        scores = [score for _, score in values]
        spread = f" ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
        seconds = statistics.median(second for second, _ in values)
        print(f"{who:<10} median {seconds:7.1f} s, {metric} {statistics.fmean(scores):.4f}{spread}")
    ratios = [theirs[0] / ours[0] for ours, theirs in zip(found["electrify"], found["Trainer"], strict=True)]
    print(f"Trainer's time by ours: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"metric": metric, **found}))


if __name__ == "__main__":
    main()
