"""`bench finetune`: one epoch on labelled examples, loading, scoring and saving included, in examples a second."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from electrify.bench.comparison import Comparison, compare
from electrify.bench.peers import Contender, find_peers
from electrify.bench.rounds import run_rounds
from electrify.config import FinetuneConfig
from electrify.data.labelled import Example, read_examples
from electrify.errors import ConfigError
from electrify.models.checkpoint import resolve_folder
from electrify.verbs.finetune import finetune

OURS = Contender("electrify", "electrify.bench.finetune", "build_finetune", "")
_WARM_EXAMPLES = 96


def bench_finetune(
    model: str | Path,
    *,
    train: str | Path,
    validation: str | Path,
    examples: int | None = None,
    batch: int = 32,
    length: int = 128,
    precision: str = "auto",
    rounds: int = 3,
    peers: str | Path | None = None,
    only: Sequence[str] | None = None,
) -> Comparison:
    """Time fine-tuning a classifier for one epoch, from a model folder to a model folder.

    Args:
        model: Folder of an encoder.
        train: Labelled examples.
        validation: Labelled examples that are scored once, after the epoch.
        examples: Training examples to take; None takes all.
        batch: Examples a step.
        length: Longest example, in tokens.
        precision: Of electrify: "auto", "bf16" or "fp32".
        rounds: How often each contender has its turn.
        peers: Folder of peers; None measures electrify alone.
        only: Names of the peers to take; None takes all.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If a file can not be used.
        BenchError: If electrify fails.
    """
    if examples is not None and examples < 1:
        raise ConfigError(f"examples must be at least 1, got {examples}.")
    found, missing = find_peers(peers, "finetune", only=only)
    contenders = [OURS, *found]
    rows = read_examples(train)[:examples]
    scored = read_examples(validation)
    labels = sorted({str(one.label) for one in rows})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write(folder / "train.jsonl", rows)
        _write(folder / "validation.jsonl", scored)
        _write(folder / "warm.jsonl", _some_of_each(rows))
        work = {
            "model": str(resolve_folder(model)), "labels": labels, "batch": batch, "length": length,
            "train": [str(folder / "warm.jsonl"), str(folder / "train.jsonl")],
            "validation": str(folder / "validation.jsonl"), "precision": precision, "output": place,
        }  # fmt: skip
        done = run_rounds(contenders, work, rounds=rounds, units=1, size=lambda _: len(rows))
    settings = {
        "model": str(model), "examples": len(rows), "scored": len(scored), "batch": batch, "length": length,
        "precision": precision, "rounds": rounds,
    }  # fmt: skip
    notes = [f"{one.name}: {one.result:.1%} accuracy, {min(one.seconds):.1f} s at best" for one in done.measured]
    return compare(
        "One epoch of fine-tuning", "examples/s", done, contenders=contenders, missing=missing, settings=settings,
        notes=notes,
    )  # fmt: skip


def _some_of_each(rows: list[Example]) -> list[Example]:
    """Return a few examples with every label among them."""
    first_of_label = {one.label: one for one in reversed(rows)}
    return [*first_of_label.values(), *rows[:_WARM_EXAMPLES]]


def _write(path: Path, examples: Sequence[Example]) -> None:
    lines = []
    for one in examples:
        pair = {} if one.text_b is None else {"text_b": one.text_b}
        lines.append(orjson.dumps({"text": one.text, "label": one.label, **pair}, option=orjson.OPT_APPEND_NEWLINE))
    path.write_bytes(b"".join(lines))


class _Finetuning:
    def __init__(self, work: dict[str, Any]) -> None:
        self._work = work
        self._output = Path(work["output"]) / "electrify"

    def __call__(self, number: int) -> float:
        shutil.rmtree(self._output, ignore_errors=True)
        report = finetune(
            self._work["model"],
            train=self._work["train"][min(number, 1)],
            validation=self._work["validation"],
            output=self._output,
            seeds=(0,),
            config=FinetuneConfig(
                num_epochs=1,
                batch_size=self._work["batch"],
                max_length=self._work["length"],
                precision=self._work["precision"],
            ),
        )
        return float(report.validation["mean"])


def build_finetune(work: dict[str, Any]) -> _Finetuning:
    """Return what fine-tunes on the warm-up's examples when called with 0, on all when called with more."""
    return _Finetuning(work)
