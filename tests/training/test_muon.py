import pytest
import torch
from torch import Tensor, nn

from electrify.config import OptimizerConfig
from electrify.training.muon import Muon, orthogonalize
from electrify.training.optimizers import Optimizer, split_by_decay

SHAPES = ((24, 16), (16, 24), (24, 16), (48, 16), (16, 16))
CONFIG = OptimizerConfig(
    kind="muon", learning_rate=0.02, weight_decay=0.1, epsilon=1e-3, max_grad_norm=1e6, muon_scale=0.5
)


def parameters() -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]


def gradients(shapes: tuple[torch.Size, ...], step: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=draw) for shape in shapes]


def network() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"table": nn.Embedding(9, 4), "layer": nn.Linear(4, 6), "norm": nn.LayerNorm(6)})


INNER = ("layer.weight", "layer.bias")


def build(config: OptimizerConfig = CONFIG) -> tuple[nn.Module, Optimizer]:
    module = network()
    return module, Optimizer(split_by_decay(module.named_parameters()), config, inner=INNER)


def take_steps(module: nn.Module, optimizer: Optimizer, steps: range, *, factor: float = 1.0) -> None:
    shapes = tuple(parameter.shape for parameter in module.parameters())
    for step in steps:
        for parameter, gradient in zip(module.parameters(), gradients(shapes, step), strict=True):
            parameter.grad = gradient
        optimizer.step(factor)


@pytest.mark.parametrize("shape", [(16, 16), (16, 40), (40, 16)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    found = orthogonalize(matrices).float()
    for before, after in zip(matrices, found, strict=True):
        left, _, right = torch.linalg.svd(before, full_matrices=False)
        turned = left.T @ after @ right.T
        assert float(turned.diagonal().min()) > 0.3
        assert float(turned.diagonal().max()) < 1.3
        torch.testing.assert_close(turned, turned.diagonal().diag(), atol=0.06, rtol=0)


def test_zeros_stay_zeros() -> None:
    assert not orthogonalize(torch.zeros(2, 3, 5)).any()


def test_update_is_that_of_torch() -> None:
    mine, theirs = parameters(), parameters()
    ours = Muon([{"params": mine}], lr=0.02, momentum=0.95)
    ours.param_groups[0]["weight_decay"] = 0.1
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for one, other, gradient in zip(mine, theirs, gradients(tuple(map(torch.Size, SHAPES)), step), strict=True):
            one.grad, other.grad = gradient.clone(), gradient.clone()
        ours.step()
        reference.step()
    for one, other, start in zip(mine, theirs, parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)  # bfloat16 products in another order
        assert float((one - start).detach().abs().mean()) > 0.01


def test_update_is_as_large_as_that_of_adamw() -> None:
    (parameter,) = parameters()[:1]
    before = parameter.detach().clone()
    optimizer = Muon([{"params": [parameter]}], lr=0.02, momentum=0.95)
    parameter.grad = gradients((parameter.shape,), 0)[0]
    optimizer.step()
    size = float((parameter.detach() - before).square().mean().sqrt()) / 0.02
    assert size == pytest.approx(0.2, rel=0.25)  # 0.2·√24 · RMS of an orthogonal 24 × 16, which is 1/√24


def test_only_matrices_inside_layers_are_muons_and_all_else_is_adamws() -> None:
    module, optimizer = build()
    take_steps(module, optimizer, range(3), factor=0.7)
    others = network()
    names = [name for name, _ in others.named_parameters()]
    adamw = torch.optim.AdamW(
        [{"params": [one], "weight_decay": 0.1 if one.ndim > 1 else 0.0} for one in others.parameters()],
        lr=0.02 * 0.7,
        eps=1e-3,
    )
    weight = network()["layer"].weight
    muon = torch.optim.Muon([weight], lr=0.02 * 0.7 * 0.5, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    shapes = tuple(one.shape for one in others.parameters())
    for step in range(3):
        for name, one, gradient in zip(names, others.parameters(), gradients(shapes, step), strict=True):
            one.grad = gradient
            if name == "layer.weight":
                weight.grad = gradient.clone()
        adamw.step()
        muon.step()
    for name, mine in module.named_parameters():
        expected = weight if name == "layer.weight" else others.get_parameter(name)
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)
    keys = {name for name in optimizer.tensors() if name.startswith("layer")}
    assert keys == {"layer.weight.momentum_buffer", "layer.bias.exp_avg", "layer.bias.exp_avg_sq"}


def test_state_has_the_shapes_that_are_allocated_and_continues_bit_for_bit() -> None:
    straight, optimizer = build()
    take_steps(straight, optimizer, range(5))
    first, optimizer = build()
    take_steps(first, optimizer, range(2))
    saved = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    allocated = optimizer.allocate()
    assert {name: one.shape for name, one in allocated.items()} == {name: one.shape for name, one in saved.items()}
    second, optimizer = build()
    second.load_state_dict(first.state_dict())
    optimizer.load(saved, num_steps=2)
    take_steps(second, optimizer, range(2, 5))
    for mine, theirs in zip(second.parameters(), straight.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_parameter_without_gradient_stays() -> None:
    module, optimizer = build()
    before = module["layer"].weight.detach().clone()
    module["norm"].weight.grad = torch.ones(6)
    optimizer.step(1.0)
    assert torch.equal(module["layer"].weight, before)
