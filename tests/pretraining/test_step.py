"""A step can be taken by itself, whatever a run does around it."""

from pathlib import Path

import pytest
import torch
from support.runs import settings

from electrify.config import PretrainConfig
from electrify.data.shards import open_shards
from electrify.pretraining.batches import BatchReader
from electrify.pretraining.objectives import build_objective
from electrify.pretraining.step import StepResult, TrainingStep
from electrify.recipes import load_recipe
from electrify.training.distributed import World
from electrify.training.optimizers import Adam, split_by_decay
from electrify.training.parallel import Parallel

CPU = torch.device("cpu")


def step_of(config: PretrainConfig, shards: Path) -> TrainingStep:
    folder = open_shards(shards)
    objective = build_objective(config, folder.tokenizer())
    optimizer = Adam(split_by_decay(objective.named_parameters()), config.optimizer)
    batches = BatchReader(config, folder, objective, device=CPU, world=World())
    parallel = Parallel(objective, [], world=World(), kind="auto")
    return TrainingStep(objective, parallel, optimizer, batches, world=World())


def take_first(shards: Path, *, micro_batch_size: int | None = None) -> StepResult:
    config = load_recipe("tiny", settings(shards, training={"micro_batch_size": micro_batch_size}))
    return step_of(config, shards).take(0, 1.0, with_figures=True)


def test_step_gives_sums_counts_and_figures(shards: Path) -> None:
    result = take_first(shards)
    assert result.sums.keys() == result.counts.keys() == {"gen_loss", "disc_loss"}
    assert result.counts["disc_loss"] == result.num_tokens == 8 * 24
    assert result.figures is not None
    assert len(result.figures["scores"]) == result.num_tokens
    assert float(result.grad_norm) > 0


def test_step_in_micro_batches_is_the_same_step(shards: Path) -> None:
    whole, parts = take_first(shards), take_first(shards, micro_batch_size=3)
    assert whole.counts == parts.counts
    for name, value in whole.sums.items():
        assert float(value) == pytest.approx(float(parts.sums[name]), rel=1e-6)
    assert float(whole.grad_norm) == pytest.approx(float(parts.grad_norm), rel=1e-5)
    assert whole.figures is not None
    assert parts.figures is not None
    torch.testing.assert_close(whole.figures["scores"], parts.figures["scores"])


def test_figures_are_made_only_when_asked_for(shards: Path) -> None:
    step = step_of(load_recipe("tiny", settings(shards)), shards)
    assert step.take(0, 1.0).figures is None
