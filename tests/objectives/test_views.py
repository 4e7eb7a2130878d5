"""The crop of a row is one stretch of it, as long as asked for, between the same special tokens."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from support.networks import CLS, PAD, SEP

from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.objectives.views import crop, pool


def rows_of(lengths: list[int], *, num_padding: int = 0) -> Inputs:
    """Rows whose tokens say where they stand: 10, 11, 12 …; the documents change at every fourth token."""
    ids = torch.full((len(lengths), max(lengths) + num_padding), PAD)
    documents = torch.full_like(ids, -1)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.tensor([CLS, *range(10, 10 + length - 2), SEP])
        documents[row, :length] = torch.arange(length) // 4
    mask = ids != PAD
    return Inputs(ids, attention_mask=None if bool(mask.all()) else mask, document_ids=documents)


@given(
    lengths=st.lists(st.integers(3, 20), min_size=1, max_size=5),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 1000),
    num_padding=st.integers(0, 3),
)
def test_a_crop_is_one_stretch_of_its_row(lengths: list[int], share: float, seed: int, num_padding: int) -> None:
    keys = row_keys(seed, 0, torch.arange(len(lengths)))
    rows = rows_of(lengths, num_padding=num_padding)
    cropped = crop(rows, keys, share=share)
    mask = cropped.attention_mask
    for row, length in enumerate(lengths):
        inner = length - 2
        kept = min(inner, max(1, round(share * inner)))
        ids = cropped.input_ids[row] if mask is None else cropped.input_ids[row][mask[row]]
        first, *middle, last = ids.tolist()
        assert (first, last) == (CLS, SEP)
        assert middle == list(range(middle[0], middle[0] + kept))
        assert 10 <= middle[0] <= middle[-1] < 10 + inner
        documents = cropped.document_ids[row, : kept + 2].tolist()
        assert documents[1:-1] == [(one - 9) // 4 for one in middle]
        assert (documents[0], documents[-1]) == (documents[1], documents[-2])  # the special tokens see their neighbours
        assert (cropped.input_ids[row, kept + 2 :] == PAD).all()
        alone = crop(rows_of([length]), keys[row : row + 1], share=share)
        assert alone.input_ids[0].tolist() == ids.tolist()  # whatever it is batched with


def test_all_places_come_up_alike() -> None:
    inputs = Inputs(rows_of([12]).input_ids.expand(4000, -1))
    first = crop(inputs, row_keys(0, 0, torch.arange(4000)), share=0.7).input_ids[:, 1] - 10
    assert torch.bincount(first).tolist() == torch.bincount(first, minlength=4)[:4].tolist()  # 7 of 10: 4 places
    assert (torch.bincount(first) / 4000 - 0.25).abs().max() < 0.03


def test_segments_are_cut_with_their_tokens() -> None:
    ids = torch.tensor([[CLS, 10, 11, SEP, 12, 13, SEP]])
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    cropped = crop(Inputs(ids, token_type_ids=types), row_keys(1, 0, torch.tensor([0])), share=0.6)
    start = ids[0].tolist().index(int(cropped.input_ids[0, 1]))
    assert cropped.token_type_ids[0].tolist() == [0, *types[0, start : start + 3].tolist(), 1]


def test_the_mean_is_over_real_tokens() -> None:
    hidden = torch.arange(12.0).view(1, 4, 3)
    mask = torch.tensor([[True, True, False, False]])
    assert pool(hidden, mask, how="mean").tolist() == [[1.5, 2.5, 3.5]]
    assert pool(hidden, None, how="mean").tolist() == [[4.5, 5.5, 6.5]]
    assert pool(hidden, mask, how="cls").tolist() == [[0.0, 1.0, 2.0]]
