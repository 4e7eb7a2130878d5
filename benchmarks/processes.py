"""One batch on one process and on two, in turn: what the second process is worth.

    python benchmarks/processes.py SHARDS [--rounds 2]

`tiny` with batches of 64 rows in micro-batches of 8: eight forward passes on one process, four on each of two. Each
process has one thread. Prints tokens a second after the first line of metrics, so that start-up does not count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

NUM_STEPS = 30


def tokens_per_s(shards: str, output: Path, processes: int) -> float:
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", f"--nproc-per-node={processes}", "--standalone", "-m"]
    command = [*launcher, "electrify", "pretrain", "tiny", f"--output={output}", f"--data.path={shards}", "--json"]
    options = {
        "schedule.num-steps": NUM_STEPS, "training.batch-size": 64, "training.micro-batch-size": 8,
        "logging.every-steps": 10, "logging.tensorboard": "false", "evaluation.every-steps": 1000,
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
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(arguments.rounds):
            one, two = (tokens_per_s(arguments.shards, Path(name) / f"{number}-{n}", n) for n in (1, 2))
            ratios.append(two / one)
            print(f"one process {one:,.0f} tokens/s, two {two:,.0f}: {two / one:.2f} times", flush=True)
    print(f"median {statistics.median(ratios):.2f} times")


if __name__ == "__main__":
    main()
