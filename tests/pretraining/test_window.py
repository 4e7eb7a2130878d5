import json

import torch

from electrify.pretraining.step import StepResult
from electrify.pretraining.window import Window


def result(loss: float, terms: int, *, tokens: int = 10) -> StepResult:
    sums = {"loss": torch.tensor(loss, dtype=torch.float64)}
    return StepResult(sums=sums, counts={"loss": terms}, num_tokens=tokens, grad_norm=torch.ones(()), figures=None)


def test_loss_is_the_mean_over_terms_not_over_steps() -> None:
    window = Window()
    window.add(result(6.0, 2))
    window.add(result(2.0, 6))
    assert window.losses() == {"loss": 1.0}
    assert window.tokens_seen == 20


def test_loss_without_terms_is_left_out() -> None:
    window = Window()
    window.add(result(0.0, 0))
    assert window.losses() == {}
    window.add(result(6.0, 3))
    assert window.losses() == {"loss": 2.0}


def test_cleared_window_keeps_the_tokens() -> None:
    window = Window()
    window.add(result(6.0, 2))
    window.clear()
    window.add(result(4.0, 2))
    assert window.losses() == {"loss": 2.0}
    assert window.tokens_seen == 20


def test_window_comes_back_bit_for_bit_from_json() -> None:
    window, loaded = Window(), Window()
    window.add(result(0.1 + 0.2, 3))
    loaded.load(json.loads(json.dumps(window.to_json())), device=torch.device("cpu"))
    loaded.add(result(1e-9, 1))
    window.add(result(1e-9, 1))
    assert loaded.losses() == window.losses()
    assert loaded.to_json() == window.to_json()
