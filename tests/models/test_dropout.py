import pytest
import torch

from electrify.models.dropout import Dropout, layer_keys
from electrify.noise import LAYERS, fold, row_keys


def keys(num_rows: int, *, step: int = 0):
    return row_keys(7, step, torch.arange(num_rows))


@pytest.mark.parametrize("training", [True, False])
def test_without_keys_nothing_is_dropped_whatever_the_mode(training):
    x = torch.randn(4, 8)
    assert Dropout(0.5, site=0).train(training)(x, None) is x


@pytest.mark.parametrize("training", [True, False])
def test_with_keys_something_is_dropped_whatever_the_mode(training):
    x = torch.ones(4, 64)
    assert (Dropout(0.5, site=0).train(training)(x, keys(4)) == 0).any()


def test_rate_0_drops_nothing():
    x = torch.randn(4, 8)
    assert Dropout(0.0, site=0)(x, keys(4)) is x


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_share_that_is_dropped_is_p(p):
    dropped = Dropout(p, site=3)(torch.ones(64, 1000), keys(64)) == 0
    # 5 standard deviations of a share over 64,000 draws
    assert dropped.double().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / 64_000) ** 0.5)


def test_what_stays_is_scaled_up_so_that_the_mean_stays():
    out = Dropout(0.2, site=0)(torch.full((64, 1000), 4.0), keys(64))
    assert set(out.unique().tolist()) == {0.0, 5.0}
    assert out.mean().item() == pytest.approx(4.0, abs=0.05)


def test_gradient_is_zero_where_dropped_and_scaled_elsewhere():
    x = torch.ones(4, 100, requires_grad=True)
    out = Dropout(0.5, site=0)(x, keys(4))
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, keys(8)), (1, keys(8))),
        ((0, keys(8)), (0, keys(8, step=1))),
        ((0, layer_keys(keys(8), 2)[0]), (0, layer_keys(keys(8), 2)[1])),
        ((0, keys(8)), (0, layer_keys(keys(8), 1)[0])),
    ],
    ids=["sites", "steps", "layers", "inside and outside of a layer"],
)
def test_different_places_and_times_drop_independently(first, second):
    kept = [Dropout(0.5, site)(torch.ones(8, 4000), k) > 0 for site, k in (first, second)]
    share_equal = (kept[0] == kept[1]).double().mean().item()
    assert share_equal == pytest.approx(0.5, abs=0.02)  # 7 standard deviations over 32,000 draws


def test_rows_drop_independently_and_do_not_depend_on_their_batch():
    x, dropout = torch.ones(8, 4000), Dropout(0.5, site=2)
    together = dropout(x, keys(8))
    assert torch.equal(dropout(x[5:], keys(8)[5:]), together[5:])
    assert (together[0] == together[1]).double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_type_of_the_input_is_kept():
    assert Dropout(0.5, site=0)(torch.ones(2, 4, dtype=torch.bfloat16), keys(2)).dtype == torch.bfloat16


def test_keys_of_a_layer_do_not_depend_on_the_number_of_layers():
    expected = [fold(fold(keys(8), LAYERS), layer) for layer in range(5)]
    for num_layers in (1, 5):
        for found, one in zip(layer_keys(keys(8), num_layers), expected, strict=False):
            assert torch.equal(found, one)
    assert layer_keys(None, 2) == [None, None]
