"""Does a run through the compiled kernels learn as one in plain torch does? The same run both ways, over two seeds.

    python benchmarks/learning_curves.py SHARDS runs/curves

Prints held-out losses, and how far the training curves of the two ways are from each other beside how far those of two
seeds are. Finished runs in the output folder are read, not repeated.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from electrify import pretrain

NETWORK = {
    "hidden_size": 128,
    "num_layers": 4,
    "num_heads": 4,
    "intermediate_size": 512,
    "embedding_size": 128,
    "generator_hidden_ratio": 0.5,
}
LOSSES = ("gen_loss", "disc_loss")
Records = list[dict[str, Any]]


def run(shards: str, folder: Path, *, kernels: str, seed: int, num_steps: int) -> Records:
    if not (folder / "results.json").exists():
        overrides = {
            "seed": seed,
            "data": {"path": shards},
            "model": NETWORK,
            "optimizer": {"learning_rate": 1e-3},
            "schedule": {"num_steps": num_steps, "warmup_share": 0.05},
            "training": {"batch_size": 8, "kernels": kernels},
            "logging": {"every_steps": 20},
        }
        pretrain("paper-small", output=folder, overrides=overrides, overwrite=True)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def distance(first: Records, second: Records, loss: str) -> float:
    """Mean distance of two training curves, in nats."""
    pairs = zip(*([one[loss] for one in records if one["kind"] == "train"] for records in (first, second)), strict=True)
    return statistics.mean(abs(a - b) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards")
    parser.add_argument("output", type=Path)
    parser.add_argument("--num-steps", type=int, default=2000)
    options = parser.parse_args()
    records = {
        (kernels, seed): run(
            options.shards,
            options.output / f"{kernels}-{seed}",
            kernels=kernels,
            seed=seed,
            num_steps=options.num_steps,
        )
        for seed in (0, 1)
        for kernels in ("auto", "plain")
    }
    print("held-out losses, generator and discriminator, in nats")
    for (kernels, seed), lines in records.items():
        held_out = [one for one in lines if one["kind"] == "validation"]
        values = "   ".join(f"step {one['step']}: {one['gen_loss']:.3f} {one['disc_loss']:.4f}" for one in held_out)
        print(f"  {kernels:<6} seed {seed}   {values}")
    print("mean distance of training curves, in nats")
    for loss in LOSSES:
        ways = [distance(records["auto", seed], records["plain", seed], loss) for seed in (0, 1)]
        seeds = [distance(records[kind, 0], records[kind, 1], loss) for kind in ("auto", "plain")]
        print(f"  {loss:<10} the two ways {statistics.mean(ways):.4f}   two seeds {statistics.mean(seeds):.4f}")


if __name__ == "__main__":
    main()
