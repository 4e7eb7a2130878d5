"""Speed of `electrify prepare` against `datasets.map` with the same fast tokenizer, and a check that the ids are equal.

    pip install datasets transformers
    python benchmarks/prepare.py CORPUS.jsonl... --tokenizer FOLDER_OR_VOCAB --rounds 5 --processes 1 2

Both sides run in processes of their own, one after the other, A B A B, on as many CPUs as they have processes. The peer
is charged for `map` alone: its files were read into Arrow before the clock starts. electrify is charged for everything:
reading, unpacking, tokenizing, packing, writing, digests. MB are of UTF-8 text. A process runs one tokenizer thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def run_electrify(corpus: list[str], tokenizer: str, processes: int, folder: Path) -> dict[str, Any]:
    from electrify.verbs.prepare import prepare

    started = time.perf_counter()
    report = prepare(
        corpus, tokenizer=tokenizer, output=folder, processes=processes, validation_share=0.0, overwrite=True
    )
    return {"seconds": time.perf_counter() - started, "bytes": report.num_bytes}


def run_datasets(corpus: list[str], tokenizer: str, processes: int, folder: Path) -> dict[str, Any]:
    import datasets
    from transformers import AutoTokenizer, BertTokenizer

    is_vocabulary = tokenizer.endswith(".txt")
    loaded = BertTokenizer(vocab=tokenizer) if is_vocabulary else AutoTokenizer.from_pretrained(tokenizer)
    loaded.model_max_length = int(1e30)  # whole documents, as electrify reads them
    assert loaded.is_fast
    datasets.disable_progress_bars()
    rows = datasets.load_dataset("json", data_files=corpus, split="train", cache_dir=str(folder)).select_columns("text")
    num_bytes = sum(len(text.encode()) for text in rows["text"])
    started = time.perf_counter()
    encoded = rows.map(
        lambda batch: loaded(batch["text"]), batched=True, num_proc=processes, load_from_cache_file=False
    )
    seconds = time.perf_counter() - started
    stream = folder / "stream.npy"
    if not stream.exists():  # documents without [CLS], each with its [SEP]: electrify's stream
        np.save(stream, np.concatenate([np.array(ids[1:], np.uint32) for ids in encoded["input_ids"] if len(ids) > 2]))
    return {"seconds": seconds, "bytes": num_bytes}


SIDES = {"electrify": run_electrify, "datasets": run_datasets}


def run_apart(side: str, options: argparse.Namespace, processes: int, folder: Path) -> dict[str, Any]:
    words = ["--side", side, "--folder", str(folder), "--processes", str(processes), "--tokenizer", options.tokenizer]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, *words, *options.corpus], env=environment, check=True, stdout=subprocess.PIPE
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def stored_ids(folder: Path) -> np.ndarray:
    manifest = json.loads((folder / "manifest.json").read_text())
    dtype = np.dtype(manifest["token_dtype"])
    return np.concatenate([np.fromfile(path, dtype=dtype) for path in sorted((folder / "train").glob("*.ds"))])


def compare(options: argparse.Namespace, processes: int, folder: Path) -> float:
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side, measured in speeds.items():
            result = run_apart(side, options, processes, folder / side)
            measured.append(result["bytes"] / 1e6 / result["seconds"] / processes)
    ratios = [ours / theirs for ours, theirs in zip(*speeds.values(), strict=True)]
    for side, measured in speeds.items():
        spread = f"{min(measured):.2f} to {max(measured):.2f}"
        print(f"{processes} processes  {side:<10} {statistics.median(measured):6.2f} MB/s per core  ({spread})")
    print(
        f"{processes} processes  ratio      {statistics.median(ratios):6.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--at-least", type=float, default=0.0, help="Fail if a ratio is lower.")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.processes[0]])
        result = SIDES[options.side](options.corpus, options.tokenizer, options.processes[0], options.folder)
        print(json.dumps(result))
        return
    names = ("electrify", "datasets", "tokenizers", "transformers", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names), f"on {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory() as folder:
        ratios = [compare(options, processes, Path(folder)) for processes in options.processes]
        ours, theirs = stored_ids(Path(folder) / "electrify"), np.load(Path(folder) / "datasets" / "stream.npy")
        if not np.array_equal(ours, theirs):
            sys.exit(f"The ids differ: {len(ours):,} and {len(theirs):,} tokens.")
        print(f"ids equal: {len(ours):,} tokens")
    if min(ratios) < options.at_least:
        sys.exit(f"A ratio is below {options.at_least}.")


if __name__ == "__main__":
    main()
