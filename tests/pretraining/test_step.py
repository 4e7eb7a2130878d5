"""A step can be taken by itself, whatever a run does around it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.runs import settings

from electrify.config import PretrainConfig, TrainingConfig
from electrify.data.shards import open_shards
from electrify.pretraining.batches import BatchReader, deal_out
from electrify.pretraining.guard import StepGuard
from electrify.pretraining.objectives import build_objective
from electrify.pretraining.step import StepResult, TrainingStep
from electrify.recipes import load_recipe
from electrify.training.distributed import World
from electrify.training.optimizers import Optimizer, split_by_decay

CPU = torch.device("cpu")


def step_of(config: PretrainConfig, shards: Path) -> TrainingStep:
    folder = open_shards(shards)
    objective = build_objective(config, folder.tokenizer())
    optimizer = Optimizer(split_by_decay(objective.named_parameters()), config.optimizer)
    batches = BatchReader(config, folder, objective, device=CPU, world=World())
    return TrainingStep(objective, optimizer, batches)


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


def test_loss_that_few_steps_have_is_no_spike_where_it_is_there() -> None:
    guard = StepGuard(TrainingConfig(spike_deviations=3))
    for number in range(400):
        terms = int(number % 20 == 0)
        sums = {"span_loss": 5.0 + 0.1 * (number % 2), "copy_loss": 7.0 * terms}
        result = StepResult(
            sums={name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()},
            counts={"span_loss": 1, "copy_loss": terms},
            num_tokens=8,
            grad_norm=torch.ones(()),
            figures=None,
        )
        assert ("copy_loss" in result.values()) == bool(terms)
        assert guard.judge(result.values()) is None


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("micro_batch_size", [1, 2, 3, 100])
@pytest.mark.parametrize("batch_size", [7, 8, 16])
def test_every_row_goes_to_one_process_and_all_have_equally_many_parts(
    size: int, micro_batch_size: int, batch_size: int
) -> None:
    indices = np.arange(100, 100 + batch_size)
    dealt = [deal_out(indices, rank, size, micro_batch_size=micro_batch_size) for rank in range(size)]
    assert len({len(parts) for parts in dealt}) == 1
    sizes = [len(part) for parts in dealt for part in parts]
    assert min(sizes) > 0
    assert max(sizes) <= micro_batch_size + 1
    if batch_size % size == 0:
        assert max(sizes) <= micro_batch_size
    assert np.concatenate([part for parts in dealt for part in parts]).tolist() == indices.tolist()
