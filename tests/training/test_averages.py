import pytest
import torch
from torch import nn

from electrify.config import OptimizerConfig
from electrify.training.averages import Averages
from electrify.training.optimizers import Optimizer, ParameterGroup


def moving(decay: float, values: list[float]) -> tuple[nn.Parameter, Averages]:
    parameter = nn.Parameter(torch.zeros(1))
    averages = Averages({"a": parameter}, decay)
    for number, value in enumerate(values, start=1):
        with torch.no_grad():
            parameter.fill_(value)
        averages.update(number)
    return parameter, averages


def test_average_is_the_one_computed_by_hand() -> None:
    _, averages = moving(0.5, [4.0, 8.0, 0.0])
    # The first is taken as it is; then 3/12 and 4/13 of the old one are kept, as both are below 0.5.
    assert float(averages.tensors()["a.average"]) == pytest.approx((4 * 3 / 12 + 8 * 9 / 12) * 4 / 13)
    _, averages = moving(0.1, [4.0, 8.0])
    assert float(averages.tensors()["a.average"]) == pytest.approx(4 * 0.1 + 8 * 0.9)


def test_averages_stand_in_for_a_while_even_if_that_fails() -> None:
    parameter, averages = moving(0.1, [4.0, 8.0])
    seen = []

    def fail() -> None:
        with averages.in_place():
            seen.append(parameter.item())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == pytest.approx([7.6])
    assert parameter.item() == 8.0
    assert float(averages.tensors()["a.average"]) == pytest.approx(7.6)


def test_nothing_happens_before_the_first_update() -> None:
    parameter, averages = moving(0.1, [])
    with averages.in_place():
        assert parameter.item() == 0.0
    assert averages.tensors() == {}


def test_optimizer_keeps_and_continues_averages_bit_for_bit() -> None:
    def build() -> tuple[nn.Parameter, Optimizer]:
        parameter = nn.Parameter(torch.ones(3, 2))
        config = OptimizerConfig(learning_rate=0.1, ema_decay=0.9)
        return parameter, Optimizer([ParameterGroup({"a": parameter})], config)

    def take(parameter: nn.Parameter, optimizer: Optimizer, steps: range) -> None:
        for step in steps:
            parameter.grad = torch.randn(3, 2, generator=torch.Generator().manual_seed(step))
            optimizer.step(1.0)

    straight, optimizer = build()
    take(straight, optimizer, range(6))
    expected = optimizer.tensors()["a.average"]
    first, optimizer = build()
    take(first, optimizer, range(3))
    saved = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    assert optimizer.allocate().keys() == saved.keys() == {"a.exp_avg", "a.exp_avg_sq", "a.average"}
    second, optimizer = build()
    with torch.no_grad():
        second.copy_(first)
    optimizer.load(saved, num_steps=3)
    take(second, optimizer, range(3, 6))
    assert torch.equal(optimizer.tensors()["a.average"], expected)
    with optimizer.averaged():
        assert torch.equal(second, expected)
    assert torch.equal(second, straight)
    assert not torch.equal(second, expected)
