"""`bench step` on networks of a few thousand parameters."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from electrify.bench.rows import made_up_tokenizer, make_sequences, write_sequences
from electrify.bench.step import StepReport, bench_step
from electrify.bench.step_work import build_step
from electrify.config import PretrainConfig
from electrify.errors import ConfigError
from electrify.recipes import load_recipe

PEERS = Path(__file__).parents[2] / "benchmarks/peers"
TINY: dict[str, Any] = {
    "model": {"hidden_size": 32, "embedding_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 64},
    "training": {"precision": "fp32"},
}
SIZES = {"batch": 8, "length": 32, "vocab_size": 200}


@pytest.fixture(scope="module")
def report() -> StepReport:
    return bench_step(
        "paper-small", overrides=TINY, rows="natural", rounds=2, steps=2, peers=PEERS, only=["transformers_loop fp32"],
        **SIZES,
    )  # fmt: skip


def test_both_sides_train_on_the_same_tokens(report: StepReport) -> None:
    assert [one.name for one in report.measured] == ["electrify", "transformers_loop fp32"]
    assert not report.missing
    for side in report.measured:
        tokens = sum(report.num_tokens[:2]), sum(report.num_tokens[2:])
        assert side.rates == pytest.approx([tokens[0] / side.seconds[0], tokens[1] / side.seconds[1]])
        assert side.result["gen_loss"] == pytest.approx(math.log(200), rel=0.1)
        assert 0.1 < side.result["disc_loss"] < 1.5
        assert side.peak_bytes >= 0


def test_what_is_said_about_the_step_adds_up(report: StepReport) -> None:
    assert all(seconds >= 0 for seconds in report.parts.values())
    assert set(report.parts) == {
        "masking", "generator", "vocabulary", "discriminator", "loss", "backward", "optimizer",
    }  # fmt: skip
    ours = report.measured[0]
    assert sum(report.parts.values()) == pytest.approx(sum(ours.seconds) / 4, rel=2.0)  # a step here takes 10 ms
    assert 0 < report.product_share.median < 1
    assert 0.4 < report.real_share < 0.95


@pytest.mark.parametrize(("name", "value"), [("batch", 0), ("length", 7), ("rounds", 0), ("steps", 0)])
def test_sizes_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be at least"):
        bench_step("tiny", **{name: value})


def load_peer(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PEERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def work(tmp_path: Path) -> dict[str, Any]:
    tokenizer = made_up_tokenizer(200)
    write_sequences(
        tmp_path / "rows.npz", make_sequences(8, kind="natural", length=32, tokenizer=tokenizer, seed=0) * 60
    )
    config: PretrainConfig = load_recipe("paper-small", TINY)
    sizes: dict[str, Any] = {
        "vocab_size": 200, "embedding_size": 16, "num_hidden_layers": 2, "max_position_embeddings": 512,
    }  # fmt: skip
    return {
        "config": config.model_dump(),
        "body": "electra",
        "discriminator": {**sizes, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64},
        "generator": {**sizes, "hidden_size": 16, "num_attention_heads": 1, "intermediate_size": 32},
        "vocab_size": 200,
        "pad_id": tokenizer.pad_id,
        "mask_id": tokenizer.mask_id,
        "special_ids": list(tokenizer.special_ids),
        "batch": 8,
        "length": 32,
        "rows": str(tmp_path / "rows.npz"),
        "variant": "fp32",
    }


def test_the_hand_written_loop_trains_as_many_parameters_and_learns(
    work: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    class CountingAdamW(torch.optim.AdamW):
        def __init__(self, parameters: Any, **settings: Any) -> None:
            super().__init__(parameters, **settings)
            counted.append(sum(one.numel() for group in self.param_groups for one in group["params"]))

    monkeypatch.setattr(torch.optim, "AdamW", CountingAdamW)
    theirs, ours = load_peer("transformers_loop").build_step(work), build_step(work)
    assert counted[0] == counted[1]
    for step in (theirs, ours):  # the same eight rows in each step
        losses = [step(number)["gen_loss"] for number in range(60)]
        assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.2
