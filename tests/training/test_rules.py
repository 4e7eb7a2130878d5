"""Lion, LAMB and schedule-free AdamW are what their papers say, computed by hand."""

import pytest
import torch
from torch import Tensor, nn

from electrify.config import OptimizerConfig
from electrify.errors import ConfigError
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


@pytest.mark.parametrize("kind", ["lion", "lamb", "schedule-free"])
def test_update_is_not_that_of_adamw(kind: str) -> None:
    assert not torch.allclose(train(kind=kind), train(kind="adamw"), atol=1e-3)


FACTORS = (0.0, 0.5, 1.0, 0.25, 0.25)  # a warm-up, and a rate that falls


def schedule_free() -> tuple[nn.Parameter, Optimizer]:
    config = OptimizerConfig(kind="schedule-free", learning_rate=0.1, weight_decay=0.2, max_grad_norm=1e6)
    parameter = nn.Parameter(START.clone())
    return parameter, Optimizer([ParameterGroup({"a": parameter})], config)


def take(parameter: nn.Parameter, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        parameter.grad = GRADIENTS[step % 2].clone()
        optimizer.step(FACTORS[step])


def test_schedule_free_takes_gradients_between_the_average_and_the_last_iterate() -> None:
    parameter, optimizer = schedule_free()
    take(parameter, optimizer, range(5))
    z, x, square, weights, highest = START.double(), START.double(), torch.zeros(2, 2).double(), 0.0, 0.0
    for step, factor in enumerate(FACTORS):  # Defazio et al. 2024, algorithm 1; averages weigh by the highest rate²
        y = 0.1 * z + 0.9 * x
        gradient = GRADIENTS[step % 2].double()
        square = 0.999 * square + 0.001 * gradient**2
        rate = 0.1 * factor
        z = z - rate * (gradient / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-6) + 0.2 * y)
        highest = max(highest, rate)
        weights += highest**2
        share = highest**2 / weights if weights else 0.0
        x = (1 - share) * x + share * z
    torch.testing.assert_close(parameter.detach().double(), 0.1 * z + 0.9 * x, rtol=1e-5, atol=1e-6)
    with optimizer.averaged():
        torch.testing.assert_close(parameter.detach().double(), x, rtol=1e-5, atol=1e-6)


def test_looking_at_the_average_changes_no_bit() -> None:
    parameter, optimizer = schedule_free()
    other, undisturbed = schedule_free()
    for step in range(5):
        take(parameter, optimizer, range(step, step + 1))
        take(other, undisturbed, range(step, step + 1))
        before = parameter.detach().clone()
        with optimizer.averaged():
            assert step < 2 or not torch.equal(parameter, before)
        assert torch.equal(parameter, before)
    assert torch.equal(parameter, other)


def test_schedule_free_goes_on_from_what_was_saved() -> None:
    parameter, optimizer = schedule_free()
    take(parameter, optimizer, range(3))
    saved = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    assert {name: tensor.shape for name, tensor in optimizer.allocate().items()} == {
        name: tensor.shape for name, tensor in saved.items()
    }
    other, continued = schedule_free()
    take(other, continued, range(2))  # what it did before is forgotten
    with torch.no_grad():
        other.copy_(parameter)
    continued.load(saved, num_steps=3)
    for one, its in ((parameter, optimizer), (other, continued)):
        take(one, its, range(3, 5))
    assert torch.equal(parameter, other)
    with optimizer.averaged(), continued.averaged():
        assert torch.equal(parameter, other)


def test_schedule_free_set_back_to_the_beginning_begins_anew() -> None:
    parameter, optimizer = schedule_free()
    fresh, other = schedule_free()
    take(parameter, optimizer, range(4))
    with torch.no_grad():
        parameter.copy_(START)
    optimizer.load({}, num_steps=0)
    take(parameter, optimizer, range(5))
    take(fresh, other, range(5))
    assert torch.equal(parameter, fresh)


@pytest.mark.parametrize(("settings", "said"), [({"ema_decay": 0.9}, "ema_decay"), ({"beta1": 0.0}, "beta1")])
def test_schedule_free_refuses_what_has_no_meaning_with_it(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train(kind="schedule-free", **settings)
