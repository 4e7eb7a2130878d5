import pytest
import torch

from electrify.training import precision
from electrify.training.precision import autocast, choose_device, resolve_precision

CPU = torch.device("cpu")


def test_the_device_is_the_gpu_if_there_is_one() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_precision_is_what_was_asked_for() -> None:
    assert resolve_precision("fp32", CPU) is torch.float32
    assert resolve_precision("bf16", CPU) is torch.bfloat16


@pytest.mark.parametrize(("is_native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bf16_only_where_the_machine_has_it(
    is_native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(precision.torch.cpu, "_is_avx512_bf16_supported", lambda: is_native)
    assert resolve_precision("auto", CPU) is expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrix_products_run_in_the_format_and_weights_stay(dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast(CPU, dtype):
        assert layer(torch.ones(2, 4)).dtype is dtype
    assert layer.weight.dtype is torch.float32
