"""Lion and LAMB are what their papers say, computed by hand."""

import pytest
import torch
from torch import Tensor, nn

from electrify.config import OptimizerConfig
from electrify.training.optimizers import Optimizer, ParameterGroup

START = torch.tensor([[0.3, -0.4], [1.2, 0.0]])
GRADIENTS = (torch.tensor([[1.0, -2.0], [0.5, 0.1]]), torch.tensor([[-3.0, 1.0], [0.5, -0.2]]))


def train(**settings: object) -> Tensor:
    config = OptimizerConfig.model_validate({"learning_rate": 0.1, "max_grad_norm": 1e6, **settings})
    parameter = nn.Parameter(START.clone())
    optimizer = Optimizer([ParameterGroup({"a": parameter})], config)
    for gradient in GRADIENTS:
        parameter.grad = gradient.clone()
        optimizer.step(0.5)
    return parameter.detach()


def test_lion_moves_by_signs_and_decays_beside() -> None:
    expected, mean = START.clone(), torch.zeros(2, 2)
    for gradient in GRADIENTS:  # Chen et al. 2023, algorithm 2
        sign = (0.9 * mean + 0.1 * gradient).sign()
        expected = expected - 0.05 * (sign + 0.2 * expected)
        mean = 0.99 * mean + 0.01 * gradient
    torch.testing.assert_close(train(kind="lion", beta2=0.99, weight_decay=0.2), expected)


def test_lamb_moves_as_far_as_the_weights_are_large() -> None:
    expected, mean, square = START.clone(), torch.zeros(2, 2), torch.zeros(2, 2)
    for gradient in GRADIENTS:  # You et al. 2020, algorithm 2, without the correction of the means
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        update = mean / (square.sqrt() + 1e-6) + 0.2 * expected
        expected = expected - 0.05 * (expected.norm() / update.norm()) * update
    torch.testing.assert_close(train(kind="lamb", weight_decay=0.2), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["lion", "lamb"])
def test_update_is_not_that_of_adamw(kind: str) -> None:
    assert not torch.allclose(train(kind=kind), train(kind="adamw"), atol=1e-3)
