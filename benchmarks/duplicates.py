"""Plant exact and near-duplicates in a corpus, remove them with `prepare`; measure what was found and what was lost.

    python benchmarks/duplicates.py en/train-*.jsonl.zst --tokenizer FOLDER_OR_VOCAB

One document in ten gets a copy at a random place. Four copies in ten are exact. The others have their first or last
sentence cut off, some of their capitals made small, and a share of their words replaced, dropped or doubled that is
drawn evenly from `--edits`. A pair counts as found if one of the two is gone; an original is lost if it is gone and no
copy of it stays. What the corpus held twice before counts as lost too.
"""

import argparse
import hashlib
import json
import os
import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from electrify.config import CleaningConfig
from electrify.data.rejects import Rejects
from electrify.data.shards import ShardFolder, open_shards
from electrify.data.sources import SourceOptions, find_files, read_documents
from electrify.verbs.prepare import prepare

PLANTED_SHARE = 0.1
EXACT_SHARE = 0.4
NUM_FILES = 8


def edit(text: str, share: float, words: list[str], draw: random.Random) -> str:
    sentences = text.split(". ")
    if len(sentences) > 4:
        sentences = sentences[1:] if draw.random() < 0.5 else sentences[:-1]
    edited = []
    for word in ". ".join(sentences).split(" "):
        if draw.random() >= share:
            edited.append(word.lower() if draw.random() < 0.05 else word)
        else:
            edited += draw.choice([[draw.choice(words)], [], [word, word]])
    return " ".join(edited)


def plant(originals: list[str], edits: tuple[float, float], seed: int) -> list[tuple[str, int, float | None]]:
    """Return (text, number of its original, share of edited words or None for originals), shuffled."""
    draw = random.Random(seed)
    words = draw.choice(originals).split()
    documents: list[tuple[str, int, float | None]] = [(text, number, None) for number, text in enumerate(originals)]
    for number in draw.sample(range(len(originals)), int(PLANTED_SHARE * len(originals))):
        share = 0.0 if draw.random() < EXACT_SHARE else draw.uniform(*edits)
        copy = edit(originals[number], share, words, draw) if share else originals[number]
        documents.append((copy, number, share))
    draw.shuffle(documents)
    return documents


def stored(shards: ShardFolder) -> list[bytes]:
    """Return the digest of each document's tokens, in order."""
    digests = []
    for shard in shards.manifest["train"]["shards"]:
        stem = shards.path / "train" / shard["name"]
        tokens = np.fromfile(f"{stem}.ds", dtype=shards.manifest["token_dtype"])
        ends = np.fromfile(f"{stem}.ds.index", dtype="<u8").astype(np.int64)
        digests += [hashlib.md5(one.tobytes()).digest() for one in np.split(tokens, ends[:-1])]
    return digests


def stays(before: list[bytes], after: list[bytes]) -> list[bool]:
    """Tell which documents are still there; the first of equal ones is the one that is kept."""
    place, found = 0, []
    for digest in before:
        found.append(place < len(after) and digest == after[place])
        place += found[-1]
    assert place == len(after), "the documents that are left are no part of those that were there"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--edits", type=float, nargs=2, default=(0.002, 0.03))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    originals = list(read_documents(find_files(options.corpus), SourceOptions(), Rejects()))
    documents = plant(originals, tuple(options.edits), options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(NUM_FILES):
            begin, end = (len(documents) * (number + step) // NUM_FILES for step in (0, 1))
            lines = [json.dumps({"text": text}) + "\n" for text, _, _ in documents[begin:end]]
            (folder / f"part-{number}.jsonl").write_text("".join(lines))
        settings = {"tokenizer": options.tokenizer, "validation_share": 0.0, "processes": options.processes}
        corpus = sorted(folder.glob("*.jsonl"))
        plain = prepare(corpus, output=folder / "all", **settings)
        cleaning = CleaningConfig(duplicates="near")
        cleaned = prepare(corpus, output=folder / "cleaned", cleaning=cleaning, **settings)
        found = stays(stored(open_shards(folder / "all")), stored(open_shards(folder / "cleaned")))
    kept = Counter(number for (_, number, _), stay in zip(documents, found, strict=True) if stay)
    copies = [(number, share) for _, number, share in documents if share is not None]
    low, high = options.edits
    middle = (low + high) / 2
    groups = {
        "exact": [number for number, share in copies if share == 0],
        f"{low:.1%} to {middle:.1%} edited": [number for number, share in copies if 0 < share <= middle],
        f"{middle:.1%} to {high:.1%} edited": [number for number, share in copies if share > middle],
        "all": [number for number, _ in copies],
    }
    print(f"{len(originals):,} documents, {len(copies):,} copies, {plain.num_bytes / 1e6:.1f} MB, seed {options.seed}")
    for name, numbers in groups.items():
        hits = sum(kept[number] < 2 for number in numbers)
        print(f"  found, {name:<20} {hits:>5} of {len(numbers):>5}  {hits / len(numbers):7.2%}")
    lost = sum(kept[number] == 0 for number in range(len(originals)))
    print(f"  lost originals {lost} of {len(originals):,}  {lost / len(originals):.2%}")
    for title, report in (("without", plain), ("with", cleaned)):
        speed = report.num_bytes / 1e6 / report.seconds / options.processes
        print(f"  prepare {title} removal of near-duplicates: {speed:.2f} MB/s per core, {options.processes} processes")


if __name__ == "__main__":
    main()
