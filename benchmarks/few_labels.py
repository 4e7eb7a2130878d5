"""What to do with few labels: none at all, 16 to 256 of them, or 200 and as many made by the generator.

    python benchmarks/few_labels.py RUN SETS [--draws 5]

RUN holds `discriminator/` and `generator/`, SETS a folder for each set with train and test files. Each draw takes
other training rows, the same number of each label as far as there are, and is the seed of the fine-tuning too. The
epoch is chosen by the training rows themselves, as no others have labels; the test part is only measured. Runs of 200
labels with and without generated rows take the same number of steps. Prints accuracy in %, mean ± standard deviation
over the draws.
"""

import argparse
import gzip
import json
import random
import statistics
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electrify.config import FinetuneConfig
from electrify.data.labelled import read_examples
from electrify.verbs.augment import augment
from electrify.verbs.classify_zero import classify_zero
from electrify.verbs.finetune import finetune

EPOCHS = {16: 40, 64: 30, 256: 15}
AUGMENTED, AUGMENTED_EPOCHS = 200, 16


@dataclass(frozen=True)
class Set:
    """A labelled set, and what stands for its labels in a sentence."""

    name: str
    template: str
    words: dict[str, str]


OPINION = ("{text} It was {label} .", {"positive": "great", "negative": "terrible"})
SETS = [
    Set("sst2", *OPINION),
    Set("cr", *OPINION),
    Set(
        "ag_news", "{label} news : {text}",
        {"World": "world", "Sports": "sports", "Business": "business", "Sci/Tech": "technology"},
    ),
]  # fmt: skip


def draw(rows: list[dict[str, Any]], count: int, *, seed: int) -> list[dict[str, Any]]:
    """Take the same number of each label, as nearly as that goes."""
    by_label: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_label[row["label"]].append(row)
    chance = random.Random(seed)
    labels = sorted(by_label)
    taken = [
        row for i, label in enumerate(labels) for row in chance.sample(by_label[label], (count + i) // len(labels))
    ]
    chance.shuffle(taken)
    return taken


def write(rows: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows))
    return path


def score(model: Path, train: Path, rows: Path, test: Path, folder: Path, *, epochs: int, seed: int) -> float:
    """Fine-tune on `train`, choose the epoch by `rows`, return the accuracy on the test part in %."""
    config = FinetuneConfig(learning_rate=5e-4, layerwise_lr_decay=0.9, num_epochs=epochs, batch_size=16, dropout=0.2)
    report = finetune(
        model, train=train, validation=rows, test=test, output=folder, seeds=(seed,), config=config, overwrite=True
    )
    assert report.test is not None
    return 100 * float(report.test["mean"])


def shown(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def measure(one: Set, run: Path, sets: Path, folder: Path, draws: int) -> tuple[list[str], list[str]]:
    """Return the cells of both tables for a set."""
    with gzip.open(sets / one.name / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [row for row in rows if row["label"] in one.words]
    test, encoder = sets / one.name / "test.jsonl.gz", run / "discriminator"
    examples = list(read_examples(test))
    zero = []
    for centre in (False, True):
        result = classify_zero(encoder, examples, words=one.words, template=one.template, centre=centre)
        assert result.metrics is not None
        zero.append(f"{100 * result.metrics['accuracy']:.1f}")
    few = []
    for count, epochs in EPOCHS.items():
        values = []
        for seed in range(draws):
            train = write(draw(rows, count, seed=seed), folder / f"{one.name}-{count}-{seed}.jsonl")
            values.append(score(encoder, train, train, test, folder / "run", epochs=epochs, seed=seed))
        few.append(shown(values))
    alone, more = [], []
    for seed in range(draws):
        train = write(draw(rows, AUGMENTED, seed=seed), folder / f"{one.name}-{AUGMENTED}-{seed}.jsonl")
        both = folder / f"{one.name}-both-{seed}.jsonl"
        augment(run / "generator", train, output=both, seed=seed)
        alone.append(score(encoder, train, train, test, folder / "run", epochs=AUGMENTED_EPOCHS, seed=seed))
        more.append(score(encoder, both, train, test, folder / "run", epochs=AUGMENTED_EPOCHS // 2, seed=seed))
    gains = [b - a for a, b in zip(alone, more, strict=True)]
    return [one.name, *zero, *few], [one.name, shown(alone), shown(more), shown(gains)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    arguments = parser.parse_args()
    few, made = [], []
    with tempfile.TemporaryDirectory() as name:
        for one in SETS:
            cells = measure(one, arguments.run, arguments.sets, Path(name), arguments.draws)
            few.append(cells[0])
            made.append(cells[1])
    titles = ["set", "no label", "no label, centred", *(f"{count} labels" for count in EPOCHS)]
    for table in ([titles, *few], [["set", f"{AUGMENTED} labels", "and as many made", "difference by draw"], *made]):
        print()
        print("| " + " | ".join(table[0]) + " |\n|" + "---|" * len(table[0]))
        print("\n".join("| " + " | ".join(row) + " |" for row in table[1:]))


if __name__ == "__main__":
    main()
