import math

import pytest
import torch
from torch import Tensor, nn

from electrify.config import OptimizerConfig
from electrify.training.optimizers import Optimizer, ParameterGroup, split_by_decay

FACTORS = (0.2, 1.0, 0.7, 0.4, 0.1)
CONFIG = OptimizerConfig(learning_rate=0.05, weight_decay=0.1, epsilon=1e-3, max_grad_norm=1e6)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))


def gradients(module: nn.Module, step: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(step)
    return [torch.randn(parameter.shape, generator=draw) for parameter in module.parameters()]


def build(config: OptimizerConfig) -> tuple[nn.Module, Optimizer]:
    module = network()
    return module, Optimizer(split_by_decay(module.named_parameters()), config)


def take_steps(module: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        for parameter, gradient in zip(module.parameters(), gradients(module, step), strict=True):
            parameter.grad = gradient
        optimizer.step(FACTORS[step])


def original(config: OptimizerConfig) -> list[Tensor]:
    """The update of google-research/electra, optimization.py, in double precision.

    No correction of the means; epsilon stands outside of the root; the decay is added to the update before the rate.
    """
    parameters = [parameter.detach().double() for parameter in network().parameters()]
    means = [torch.zeros_like(parameter) for parameter in parameters]
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    for step, factor in enumerate(FACTORS):
        for index, gradient in enumerate(gradients(network(), step)):
            means[index] = config.beta1 * means[index] + (1 - config.beta1) * gradient
            squares[index] = config.beta2 * squares[index] + (1 - config.beta2) * gradient**2
            update = means[index] / (squares[index].sqrt() + config.epsilon)
            if parameters[index].ndim > 1:
                update = update + config.weight_decay * parameters[index]
            parameters[index] = parameters[index] - config.learning_rate * factor * update
    return parameters


def test_without_bias_correction_it_is_the_original() -> None:
    config = CONFIG.model_copy(update={"bias_correction": False})
    module, optimizer = build(config)
    take_steps(module, optimizer, range(5))
    for mine, theirs in zip(module.parameters(), original(config), strict=True):
        torch.testing.assert_close(mine.detach().double(), theirs, rtol=1e-5, atol=1e-6)


def test_with_bias_correction_it_is_adamw() -> None:
    module, optimizer = build(CONFIG)
    take_steps(module, optimizer, range(5))
    theirs = network()
    weight, *vectors = theirs.parameters()
    adamw = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=0.05, eps=1e-3
    )
    for step, factor in enumerate(FACTORS):
        for group in adamw.param_groups:
            group["lr"] = 0.05 * factor
        for parameter, gradient in zip(theirs.parameters(), gradients(theirs, step), strict=True):
            parameter.grad = gradient
        adamw.step()
    for mine, other in zip(module.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


def test_the_two_kinds_differ() -> None:
    results = []
    for bias_correction in (True, False):
        module, optimizer = build(CONFIG.model_copy(update={"bias_correction": bias_correction}))
        take_steps(module, optimizer, range(1))
        results.append(module[0].weight.detach())
    assert not torch.allclose(*results, atol=1e-3)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_norms_and_biases_have_no_weight_decay(bias_correction: bool) -> None:
    config = CONFIG.model_copy(update={"bias_correction": bias_correction})
    module, optimizer = build(config)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0.5)
    weight, *vectors = module.parameters()
    torch.testing.assert_close(weight.detach(), before[0] * (1 - 0.05 * 0.5 * 0.1))
    for vector, old in zip(vectors, before[1:], strict=True):
        assert torch.equal(vector, old)


def test_parameters_are_split_by_their_dimensions_and_none_is_lost() -> None:
    matrices, vectors = split_by_decay(network().named_parameters(), learning_rate_scale=0.5)
    assert (sorted(matrices.parameters), matrices.has_weight_decay) == (["0.weight"], True)
    assert (sorted(vectors.parameters), vectors.has_weight_decay) == (["0.bias", "1.bias", "1.weight"], False)
    assert matrices.learning_rate_scale == vectors.learning_rate_scale == 0.5
    assert split_by_decay([]) == []


def test_norm_is_that_before_clipping_and_the_gradient_is_clipped() -> None:
    parameter = nn.Parameter(torch.zeros(2, 2))
    config = CONFIG.model_copy(update={"max_grad_norm": 1.0})
    optimizer = Optimizer([ParameterGroup({"a": parameter})], config)
    parameter.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert float(optimizer.step(1.0)) == pytest.approx(5)
    clipped = optimizer.tensors()["a.exp_avg"] / (1 - config.beta1)
    torch.testing.assert_close(clipped, torch.tensor([[0.6, 0.0], [0.0, 0.8]]), rtol=1e-4, atol=0)


def test_norm_is_over_all_groups() -> None:
    one, other = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1))
    optimizer = Optimizer(split_by_decay([("one", one), ("other", other)]), CONFIG)
    one.grad, other.grad = torch.full((1, 1), 3.0), torch.full((1,), 4.0)
    assert float(optimizer.step(1.0)) == pytest.approx(5)


def test_small_gradients_are_not_scaled_up() -> None:
    parameter = nn.Parameter(torch.zeros(1, 1))
    optimizer = Optimizer([ParameterGroup({"a": parameter})], CONFIG.model_copy(update={"max_grad_norm": 1.0}))
    parameter.grad = torch.full((1, 1), 0.5)
    optimizer.step(1.0)
    assert float(optimizer.tensors()["a.exp_avg"]) == pytest.approx(0.05)


def test_gradients_are_dropped_after_a_step() -> None:
    module, optimizer = build(CONFIG)
    take_steps(module, optimizer, range(1))
    assert all(parameter.grad is None for parameter in module.parameters())


def test_groups_learn_at_their_own_rate() -> None:
    slow, fast = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))
    groups = [ParameterGroup({"slow": slow}, learning_rate_scale=0.25), ParameterGroup({"fast": fast})]
    optimizer = Optimizer(groups, CONFIG)
    slow.grad, fast.grad = torch.ones(1, 1), torch.ones(1, 1)
    optimizer.step(1.0)
    assert slow.item() / fast.item() == pytest.approx(0.25)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_saved_means_continue_bit_for_bit(bias_correction: bool) -> None:
    config = CONFIG.model_copy(update={"bias_correction": bias_correction, "max_grad_norm": 1.0})
    straight, optimizer = build(config)
    take_steps(straight, optimizer, range(5))

    first, optimizer = build(config)
    take_steps(first, optimizer, range(2))
    saved = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    second, optimizer = build(config)
    second.load_state_dict(first.state_dict())
    optimizer.load(saved, num_steps=2)
    take_steps(second, optimizer, range(2, 5))
    for mine, theirs in zip(second.parameters(), straight.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_state_has_two_means_a_parameter_under_its_name() -> None:
    module, optimizer = build(CONFIG)
    assert optimizer.tensors() == {}
    take_steps(module, optimizer, range(1))
    expected = {f"{name}.{kind}" for name, _ in module.named_parameters() for kind in ("exp_avg", "exp_avg_sq")}
    assert optimizer.tensors().keys() == expected


def test_missing_mean_is_an_error() -> None:
    module, optimizer = build(CONFIG)
    take_steps(module, optimizer, range(1))
    saved = optimizer.tensors()
    del saved["1.weight.exp_avg_sq"]
    with pytest.raises(KeyError, match=r"1\.weight\.exp_avg_sq"):
        build(CONFIG)[1].load(saved, num_steps=1)


def test_first_step_without_correction_is_as_large_as_the_betas_make_it() -> None:
    parameter = nn.Parameter(torch.zeros(1, 1))
    config = OptimizerConfig(learning_rate=1.0, bias_correction=False, weight_decay=0.0, epsilon=1e-12)
    optimizer = Optimizer([ParameterGroup({"a": parameter})], config)
    parameter.grad = torch.full((1, 1), 0.5)
    optimizer.step(1.0)
    assert parameter.item() == pytest.approx(-(1 - 0.9) / math.sqrt(1 - 0.999))


def test_l2_penalty_is_that_of_torchs_adam_and_not_decoupled() -> None:
    module, optimizer = build(CONFIG.model_copy(update={"weight_decay_form": "l2"}))
    take_steps(module, optimizer, range(5))
    theirs = network()
    weight, *vectors = theirs.parameters()
    adam = torch.optim.Adam(
        [{"params": [weight], "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=0.05, eps=1e-3
    )
    for step, factor in enumerate(FACTORS):
        for group in adam.param_groups:
            group["lr"] = 0.05 * factor
        for parameter, gradient in zip(theirs.parameters(), gradients(theirs, step), strict=True):
            parameter.grad = gradient
        adam.step()
    for mine, other in zip(module.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)
    decoupled, optimizer = build(CONFIG)
    take_steps(decoupled, optimizer, range(5))
    assert not torch.allclose(decoupled[0].weight, module[0].weight, atol=1e-3)
