"""`bench start`: seconds from the command `electrify pretrain` to its first step."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from electrify.bench.rounds import Spread, spread
from electrify.bench.rows import made_up_tokenizer, make_sequences
from electrify.bench.worker_process import BenchError
from electrify.errors import ConfigError
from electrify.progress import bar
from electrify.verbs.prepare import prepare

_POLL_S = 0.005
_NUM_DOCUMENTS = 2000


@dataclass(frozen=True, slots=True)
class StartReport:
    """How long it takes until a run trains."""

    seconds: Spread
    """From starting the process to the line of metrics of the first step."""
    settings: dict[str, Any]


def bench_start(
    recipe: str | Path = "paper-small",
    *,
    overrides: Mapping[str, Any] | None = None,
    length: int = 128,
    vocab_size: int = 30_522,
    rounds: int = 3,
) -> StartReport:
    """Time `electrify pretrain` up to the end of its first step.

    Args:
        recipe: What is started.
        overrides: Nested values that replace the recipe's; without data.path a small folder is made up.
        length: Tokens of the made-up rows.
        vocab_size: Tokens of the made-up vocabulary.
        rounds: How often.

    Raises:
        ConfigError: If a setting is out of range.
        BenchError: If the command fails.
    """
    if rounds < 1:
        raise ConfigError(f"rounds must be at least 1, got {rounds}.")
    given = {section: values for section, values in (overrides or {}).items() if isinstance(values, Mapping)}
    with tempfile.TemporaryDirectory() as place, bar("Starting", total=float(rounds + 1)) as progress:
        folder = Path(place)
        data = given.get("data", {}).get("path") or _make_shards(folder, length=length, vocab_size=vocab_size)
        progress.advance(1)
        options = {
            **{f"{name}.{key}": value for name, values in given.items() for key, value in values.items()},
            "data.path": data,
            "logging.every_steps": 1,
        }
        words = [str(recipe), *(f"--{key.replace('_', '-')}={value}" for key, value in options.items())]
        seconds = []
        for number in range(rounds):
            seconds.append(_time_first_step([*words, f"--output={folder / str(number)}"], folder / str(number)))
            progress.advance(1)
    return StartReport(spread(seconds), {"recipe": str(recipe), "data": str(data), "rounds": rounds})


def _make_shards(folder: Path, *, length: int, vocab_size: int) -> Path:
    tokenizer = made_up_tokenizer(vocab_size)
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")
    documents = make_sequences(_NUM_DOCUMENTS, kind="natural", length=length, tokenizer=tokenizer, seed=0)
    lines = [{"text": " ".join(map(tokenizer.token, document[1:-1].tolist()))} for document in documents]
    (folder / "corpus.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    output = folder / "shards"
    prepare([folder / "corpus.jsonl"], tokenizer=folder / "tokenizer", output=output, max_length=length)
    return output


def _time_first_step(words: list[str], run: Path) -> float:
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "electrify", "pretrain", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        metrics = run / "metrics.jsonl"
        while not metrics.exists() or not metrics.stat().st_size:
            if process.poll() is not None:
                message = process.stderr.read().strip() if process.stderr else ""
                raise BenchError(
                    message.removeprefix("electrify: ") or f"pretrain ended with code {process.returncode}"
                )
            time.sleep(_POLL_S)
        return time.perf_counter() - started
    finally:
        process.kill()
        process.communicate()
