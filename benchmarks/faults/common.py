"""What the fault programs share: a small language, runs of `tiny` in processes that can be killed, and comparing runs.

A run is forked from this process, which has loaded everything, so that a hundred starts take seconds; it is a process
of its own all the same, and what kills it kills nothing else.
"""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.verbs.prepare import prepare
from electrify.verbs.pretrain import pretrain

WORDS = [f"{a}{b}" for a in ("ba", "ko", "li", "mu", "ne", "ra", "so", "ti") for b in ("b", "d", "g", "k", "l", "m")]
NUM_STEPS = 40


def make_shards(folder: Path, *, seed: int = 0) -> Path:
    """Write a corpus in which each word tells the next, and prepare it."""
    if (folder / "shards").exists():
        return folder / "shards"
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    from_vocabulary([*SPECIAL_TOKENS, *WORDS], is_cased=True).save(folder / "tokenizer")
    for name, documents in (("train", 400), ("held-out", 40)):
        lines = []
        for _ in range(documents):
            first = draw.randrange(len(WORDS))
            lines.append(" ".join(WORDS[(first + 5 * step) % len(WORDS)] for step in range(draw.randint(10, 40))))
        (folder / f"{name}.txt").write_text("\n\n".join(lines))
    prepare(
        [folder / "train.txt"],
        tokenizer=folder / "tokenizer",
        output=folder / "shards",
        validation=[folder / "held-out.txt"],
        max_length=32,
        processes=1,
    )
    return folder / "shards"


def settings(shards: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """Overrides that make `tiny` a run of seconds; dropout on, so that its randomness is tested too."""
    base: dict[str, dict[str, Any]] = {
        "data": {"path": str(shards)},
        "model": {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 48, "dropout": 0.1},
        "schedule": {"num_steps": NUM_STEPS},
        "training": {"batch_size": 8, "precision": "fp32"},
        "evaluation": {"every_steps": 10, "num_rows": 16},
        "logging": {"every_steps": 3, "tensorboard": False},
        "checkpoint": {"every_steps": 4},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return base


def train(shards: Path, output: Path, **sections: Any) -> None:
    """Start or resume a run in this process."""
    pretrain("tiny", output=output, overrides=settings(shards, **sections), resume=True)


def fingerprint(output: Path) -> tuple[str, str]:
    """Return digests of all lines of metrics without their timing, and of all published weights."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("timing", None)
    weights = hashlib.sha256()
    for role in ("discriminator", "generator"):
        for name, tensor in sorted(load_file(output / role / "model.safetensors").items()):
            weights.update(name.encode() + tensor.numpy().tobytes())
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16], weights.hexdigest()[:16]
