import pytest
import torch

from electrify.models.inputs import Inputs

IDS = torch.ones(1, 4, dtype=torch.int64)
FORBIDDEN = torch.finfo(torch.float32).min


def allowed(inputs: Inputs, window: int | None = None) -> list[list[int]]:
    bias = inputs.attention_bias(torch.float32, window=window)
    assert set(bias.unique().tolist()) <= {0.0, FORBIDDEN}
    return (bias == 0).expand(1, 1, 4, 4)[0, 0].int().tolist()


def test_full_rows_need_no_bias():
    assert Inputs(IDS).attention_bias(torch.float32) is None


def test_padding_is_attended_by_nobody():
    inputs = Inputs(IDS, attention_mask=torch.tensor([[True, True, False, False]]))
    assert allowed(inputs) == [[1, 1, 0, 0]] * 4


def test_attention_stays_within_documents():
    inputs = Inputs(IDS, document_ids=torch.tensor([[0, 0, 1, 1]], dtype=torch.int32))
    assert allowed(inputs) == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_window_reaches_equally_far_to_both_sides():
    assert allowed(Inputs(IDS), window=1) == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize(("window", "is_needed"), [(2, True), (3, False), (100, False)])
def test_window_as_wide_as_the_row_costs_nothing(window, is_needed):
    assert (Inputs(IDS).attention_bias(torch.float32, window=window) is not None) == is_needed


def test_padding_documents_and_window_hold_together():
    inputs = Inputs(
        IDS,
        attention_mask=torch.tensor([[True, True, True, False]]),
        document_ids=torch.tensor([[0, 1, 1, 1]]),
    )
    assert allowed(inputs, window=1) == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_row_that_may_look_nowhere_gives_no_nan(dtype):
    inputs = Inputs(IDS, attention_mask=torch.zeros(1, 4, dtype=torch.bool))
    bias = inputs.attention_bias(dtype)
    assert (bias - 100).softmax(-1).isfinite().all()


@pytest.mark.parametrize("name", ["attention_mask", "token_type_ids", "document_ids"])
def test_field_of_another_shape_is_named(name):
    with pytest.raises(ValueError, match=name):
        Inputs(IDS, **{name: torch.ones(1, 3, dtype=torch.int64)})


def test_one_dropout_key_a_row_is_required():
    with pytest.raises(ValueError, match="dropout_keys"):
        Inputs(IDS, dropout_keys=torch.zeros(2, dtype=torch.int64))


def test_flat_ids_are_refused():
    with pytest.raises(ValueError, match=r"\(4,\)"):
        Inputs(torch.ones(4, dtype=torch.int64))
