"""Some rows of many labelled sets, and a suite of them: a wide comparison of encoders that takes an hour, not a day.

    python benchmarks/sampled_sets.py SETS sampled/ [--train 500 --dev 200 --test 1000]
    electrify finetune MODEL --suite sampled/english.toml --data sampled/ --output runs/english --jobs 2

SETS holds a folder for each set with train, dev and test as .jsonl.gz. Rows are drawn at random (`--seed`), whole
queries where rows belong to one. A set without dev has its dev rows drawn from train, beside those to train on; a set
without test is tested on rows of dev, and its dev rows are drawn from train. So dev chooses the epoch everywhere, and
what is measured chose nothing. Rows of dev and test with a label or tag that no row of train has are left out, counted.
"""

import argparse
import gzip
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
CLASSIFICATION = (
    "sst2 sst5 mr cr subj mpqa cola trec banking77 scicite ag_news movie_reviews mrpc qqp snli qnli rte wnli sick"
)
ENGLISH: list[dict[str, Any]] = [
    *({"name": name, "kind": "classification", "metric": "accuracy"} for name in CLASSIFICATION.split()),
    {"name": "reuters_topics", "kind": "multilabel"},
    {"name": "stsb", "kind": "regression", "metric": "spearman", "settings": {"both_orders": True}},
    {
        "name": "trecqa",
        "kind": "ranking",
        "metric": "map",
        "fields": {"text": "query", "text_b": "candidate"},
        "settings": {"positive_label": "1"},
    },
    *({"name": name, "kind": "tagging", "metric": "f1"} for name in ("conll2003_ner", "bc5cdr_ner", "conll2000_chunk")),
    {"name": "ud_ewt_pos", "kind": "tagging", "metric": "accuracy"},
    *({"name": name, "kind": "intent_slots"} for name in ("atis", "snips")),
    *(
        {"name": name, "kind": "question_answering", "metric": "f1", "settings": {"max_length": 256}}
        for name in ("squad_v1", "squad_v2", "qamr")
    ),
]
CHINESE: list[dict[str, Any]] = [
    {"name": "zh_chnsenticorp", "kind": "classification", "metric": "accuracy"},
    {"name": "zh_thucnews_titles", "kind": "classification", "metric": "accuracy"},
    {"name": "zh_afqmc", "kind": "classification", "metric": "accuracy", "settings": {"both_orders": True}},
    {"name": "zh_stsb", "kind": "regression", "metric": "spearman", "settings": {"both_orders": True}},
    *({"name": name, "kind": "tagging", "metric": "f1"} for name in ("zh_msra_ner", "zh_weibo_ner")),
    {"name": "zh_cmrc2018", "kind": "question_answering", "metric": "char_f1", "settings": {"max_length": 384}},
]
SUITES = {"english": ENGLISH, "chinese": CHINESE}
SETTINGS = {"max_length": 128, "num_epochs": 4, "batch_size": 16, "learning_rate": 5e-4, "layerwise_lr_decay": 1.0}


def read(path: Path) -> list[Row]:
    """Return the rows of a file, none if there is no such file."""
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def split_off(rows: Sequence[Row], count: int, chance: random.Random) -> tuple[list[Row], list[Row]]:
    """Draw about `count` rows, whole queries if they have such, and return them and the others, in their order."""
    keys = [str(row.get("qid", number)) for number, row in enumerate(rows)]
    order = sorted(set(keys))
    chance.shuffle(order)
    sizes = Counter(keys)
    chosen: set[str] = set()
    for key in order:
        if count <= 0:
            break
        chosen.add(key)
        count -= sizes[key]
    taken = [row for row, key in zip(rows, keys, strict=True) if key in chosen]
    return taken, [row for row, key in zip(rows, keys, strict=True) if key not in chosen]


def sample(folder: Path, counts: dict[str, int], *, seed: int) -> dict[str, list[Row]]:
    """Return the rows of each part of a set."""
    chance = random.Random(f"{seed} {folder.name}")
    train, dev, test = (read(folder / f"{part}.jsonl.gz") for part in ("train", "dev", "test"))
    if not test:
        test, dev = dev, []
    taken = {"test": split_off(test, counts["test"], chance)[0]}
    if dev:
        taken["dev"] = split_off(dev, counts["dev"], chance)[0]
    else:
        taken["dev"], train = split_off(train, counts["dev"], chance)
    taken["train"] = split_off(train, counts["train"], chance)[0]
    return taken


def with_known_labels(parts: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Leave out rows whose label or tags can not be predicted."""
    known = {label for row in parts["train"] for label in labels_of(row)}
    return {part: [row for row in rows if known.issuperset(labels_of(row))] for part, rows in parts.items()}


def labels_of(row: Row) -> list[str]:
    """Return the label or the tags of a row."""
    tags: list[str] = row["tags"] if "tags" in row else [row["label"]]
    return tags


def as_toml(value: Any) -> str:
    """Return a value of a suite as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {as_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


def main() -> None:
    """Write the sets and the suites."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--train", type=int, default=500)
    parser.add_argument("--dev", type=int, default=200)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts = {part: getattr(arguments, part) for part in ("train", "dev", "test")}
    for suite, tasks in SUITES.items():
        lines = [f'name = "{suite}"', "[settings]", *(f"{key} = {as_toml(value)}" for key, value in SETTINGS.items())]
        for task in tasks:
            parts = sample(arguments.sets / task["name"], counts, seed=arguments.seed)
            if task["kind"] in ("classification", "tagging"):
                drawn = sum(map(len, parts.values()))
                parts = with_known_labels(parts)
                print(task["name"], "rows with unknown labels left out:", drawn - sum(map(len, parts.values())))
            folder = arguments.output / task["name"]
            folder.mkdir(parents=True, exist_ok=True)
            for part, rows in parts.items():
                text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                (folder / f"{part}.jsonl").write_text(text, encoding="utf-8")
            print(task["name"], {part: len(rows) for part, rows in parts.items()})
            named = {"train": "train", "valid": "dev", "test": "test"}
            files = {name: f"{task['name']}/{part}.jsonl" for name, part in named.items()}
            lines += ["[[task]]", *(f"{key} = {as_toml(value)}" for key, value in {**task, **files}.items())]
        (arguments.output / f"{suite}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
