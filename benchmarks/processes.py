"""One batch on one process, on two, and two runs beside each other, in turn: what the second process is worth.

    python benchmarks/processes.py SHARDS [--rounds 2]

`tiny` with batches of 256 rows in micro-batches of 32: eight forward passes a step on one process, four on each of two.
Each process has one thread. Two runs that know nothing of each other show what the machine gives two processes at all
(memory and caches are shared). Prints tokens a second after the first line of metrics, so start-up does not count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NUM_STEPS = 12


def tokens_per_s(shards: str, output: Path, processes: int) -> float:
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", f"--nproc-per-node={processes}", "--standalone", "-m"]
    command = [*launcher, "electrify", "pretrain", "tiny", f"--output={output}", f"--data.path={shards}", "--json"]
    options = {
        "schedule.num-steps": NUM_STEPS, "training.batch-size": 256, "training.micro-batch-size": 32,
        "logging.every-steps": 2, "logging.tensorboard": "false", "evaluation.every-steps": 1000,
        "evaluation.num-rows": 8, "checkpoint.every-steps": 1000, "model.embedding-init": "normal",
    }  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    words = [f"--{key}={value}" for key, value in options.items()]
    subprocess.run([*command, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    first, last = trained[0], trained[-1]
    return (last["tokens"] - first["tokens"]) / (last["timing"]["seconds"] - first["timing"]["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shards")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    ratios, bounds = [], []
    with tempfile.TemporaryDirectory() as name:
        for number in range(arguments.rounds):
            folder = Path(name) / str(number)
            one, two = (tokens_per_s(arguments.shards, folder / f"{n}", n) for n in (1, 2))
            with ThreadPoolExecutor() as pool:
                pair = sum(pool.map(tokens_per_s, [arguments.shards] * 2, [folder / "a", folder / "b"], [1, 1]))
            ratios.append(two / one)
            bounds.append(pair / one)
            print(f"one process {one:,.0f} tokens/s, two {two:,.0f}: {two / one:.2f} times", flush=True)
            print(f"two runs beside each other {pair:,.0f} together: {pair / one:.2f} times", flush=True)
    print(f"medians: {statistics.median(ratios):.2f} times, of {statistics.median(bounds):.2f} that the machine gives")


if __name__ == "__main__":
    main()
