"""`bench infer`: an encoder's forward pass, in real tokens a second."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from electrify.bench.comparison import Comparison, compare
from electrify.bench.peers import Contender, find_peers
from electrify.bench.rounds import run_rounds
from electrify.bench.rows import make_sequences, read_sequences, write_sequences
from electrify.data.batching import pad
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError
from electrify.models.checkpoint import read_config, resolve_folder
from electrify.models.inputs import Inputs
from electrify.training.precision import autocast, choose_device, resolve_precision
from electrify.verbs.loading import load_discriminator

_SEED = 0
OURS = Contender("electrify", "electrify.bench.infer", "build_infer", "")


def bench_infer(
    model: str | Path,
    *,
    batch: int = 32,
    length: int = 128,
    precision: str = "auto",
    rounds: int = 5,
    steps: int = 4,
    peers: str | Path | None = None,
    only: Sequence[str] | None = None,
) -> Comparison:
    """Time batches of sequences of natural lengths through a discriminator.

    Args:
        model: A discriminator: a run's `discriminator/`, another published folder, or a hub name.
        batch: Sequences a batch.
        length: Longest sequence, in tokens.
        precision: Of electrify: "auto", "bf16" or "fp32".
        rounds: How often each contender has its turn.
        steps: Batches a turn.
        peers: Folder of peers; None measures electrify alone.
        only: Names of the peers to take; None takes all.

    Raises:
        ConfigError: If a setting is out of range.
        BenchError: If electrify fails.
    """
    folder = resolve_folder(model)
    longest = read_config(folder).max_position_embeddings
    if not 8 <= length <= longest:
        raise ConfigError(f"length must be in [8, {longest}] for {folder}, got {length}.")
    if min(batch, rounds, steps) < 1:
        raise ConfigError("batch, rounds and steps must be at least 1.")
    found, missing = find_peers(peers, "infer", only=only)
    contenders = [OURS, *found]
    tokenizer = load_tokenizer(folder)
    sequences = make_sequences(
        batch * (1 + rounds * steps), kind="natural", length=length, tokenizer=tokenizer, seed=_SEED
    )
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.npz"
        write_sequences(path, sequences)
        work = {
            "model": str(folder), "rows": str(path), "batch": batch, "pad_id": tokenizer.pad_id, "precision": precision,
        }  # fmt: skip
        done = run_rounds(
            contenders,
            work,
            rounds=rounds,
            units=steps,
            size=lambda number: sum(map(len, sequences[number * batch : (number + 1) * batch])),
        )
    settings = {
        "model": str(model), "rows": "natural", "batch": batch, "length": length, "precision": precision,
        "rounds": rounds, "batches a round": steps,
    }  # fmt: skip
    return compare(
        "An encoder's forward pass", "real tokens/s", done, contenders=contenders, missing=missing, settings=settings
    )


class _Encoder:
    def __init__(self, work: dict[str, Any]) -> None:
        self._sequences, self._batch, self._pad_id = read_sequences(work["rows"]), work["batch"], work["pad_id"]
        self._device = choose_device()
        self._dtype = resolve_precision(work["precision"], self._device)
        self._network = load_discriminator(Path(work["model"])).to(self._device).eval()

    @torch.no_grad()
    def __call__(self, number: int) -> float:
        rows = self._sequences[number * self._batch : (number + 1) * self._batch]
        input_ids = torch.from_numpy(pad([row.tolist() for row in rows], value=self._pad_id))
        lengths = torch.tensor([len(row) for row in rows])
        is_real = torch.arange(input_ids.shape[1]) < lengths[:, None]
        inputs = Inputs(input_ids.to(self._device), None if bool(is_real.all()) else is_real.to(self._device))
        with autocast(self._device, self._dtype):
            logits = self._network(inputs)
        return float(logits.float()[is_real.to(self._device)].mean())


def build_infer(work: dict[str, Any]) -> _Encoder:
    """Return what runs batch n when it is called with n; it returns the mean logit of the real tokens."""
    return _Encoder(work)
