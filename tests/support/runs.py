"""A pre-training run of about a second, and what is compared between runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from electrify.data.loader import RowOrder
from electrify.verbs.pretrain import PretrainReport, pretrain

BODIES = ("electra", "modernbert")


def settings(shards: Path, *, body: str = "electra", **sections: dict[str, Any]) -> dict[str, Any]:
    """Overrides of a recipe that make it tiny: 10 steps of 8 rows, every part of the recipe still at work.

    Args:
        shards: What is trained on.
        body: Kind of network.
        **sections: Values that come before these, by section: `schedule={"num_steps": 4}`.
    """
    tiny: dict[str, dict[str, Any]] = {
        "data": {"path": str(shards)},
        "model": {
            "body": body, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24,
            "max_positions": 32, "local_attention": 8, "global_attention_every": 2, "generator_layer_ratio": 0.5,
            "embedding_init": "normal", "embedding_std": 0.02, "share_layers": False,
            "layer_std": 0.02, "attention_match": 0.0,
        },
        "masking": {"mask_prob": 0.15},
        "objective": {"disc_weight": 50},
        "schedule": {"num_steps": 10, "warmup_share": 0.1},
        "training": {"batch_size": 8, "precision": "fp32"},
        "evaluation": {"every_steps": 5, "num_rows": 16},
        "logging": {"every_steps": 2, "tensorboard": False},
        "checkpoint": {"every_steps": 5},
    }  # fmt: skip
    for name, values in sections.items():
        tiny[name] = {**tiny.get(name, {}), **values}
    return tiny


def run(shards: Path, output: Path, *, resume: bool = False, body: str = "electra", **sections: Any) -> PretrainReport:
    return pretrain("tiny", output=output, overrides=settings(shards, body=body, **sections), resume=resume)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def run_killed_at(step: int, shards: Path, output: Path, monkeypatch: Any, **sections: Any) -> None:
    """Start a run that dies when it asks for the rows of the step after `step`, 1 or more."""
    row_indices = RowOrder.row_indices

    def dying(order: RowOrder, number: int, batch_size: int, **more: Any) -> Any:
        if number == step:
            raise Killed
        return row_indices(order, number, batch_size, **more)

    with monkeypatch.context() as patch:
        patch.setattr(RowOrder, "row_indices", dying)
        with pytest.raises(Killed):
            run(shards, output, **sections)


def figures(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "timing"} for line in lines]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the published folders."""
    return {
        f"{role}.{name}": tensor
        for role in json.loads((folder / "results.json").read_text())["networks"]
        for name, tensor in load_file(folder / role / "model.safetensors").items()
    }


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit: every figure, every parameter."""
    assert figures(one) == figures(other)
    mine, theirs = tensors(one), tensors(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


def assert_close_runs(one: Path, other: Path, *, rel: float = 2e-6, atol: float = 1e-6) -> None:
    """Step by step, losses and sizes of gradients to float tolerance, and all parameters."""
    mine, theirs = figures(one), figures(other)
    assert [record["step"] for record in mine] == [record["step"] for record in theirs]
    for left, right in zip(mine, theirs, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            if name.endswith(("_loss", "_entropy", "grad_norm")):
                assert left[name] == pytest.approx(right[name], rel=rel), (left["step"], name)
        assert left.get("tokens") == right.get("tokens")
    weights = tensors(other)
    for name, tensor in tensors(one).items():
        assert float((tensor - weights[name]).abs().max()) < atol, name
