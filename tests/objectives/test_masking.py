"""Masks: exact counts, never a special token, the same for a row whatever it is batched with."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from electrify.config import MaskingConfig
from electrify.noise import row_keys
from electrify.objectives.masking import Masking, mask

PAD, CLS, SEP, MASK = 1, 2, 3, 4
SPECIAL = torch.tensor([PAD, CLS, SEP, MASK])


def make_rows(num_rows: int, length: int, *, num_padding: int = 0) -> Tensor:
    """Return rows of ordinary ids (0 and 10 upwards) between [CLS] and [SEP], with padding behind."""
    ids = torch.randint(10, 99, (num_rows, length), generator=torch.Generator().manual_seed(0))
    ids[:, 5::7] = 0  # an ordinary token, although its id is zero
    ids[:, 0] = CLS
    ids[:, length - num_padding - 1] = SEP
    if num_padding:
        ids[:, -num_padding:] = PAD
    return ids


def draw(ids: Tensor, *, keys: Tensor | None = None, **settings: object) -> Masking:
    keys = row_keys(0, 0, torch.arange(len(ids))) if keys is None else keys
    lengths = (ids != PAD).sum(1)
    config = MaskingConfig.model_validate(settings)
    return mask(ids, lengths, keys, special_ids=SPECIAL, mask_id=MASK, vocab_size=99, config=config)


def chosen_per_row(masking: Masking, ids: Tensor) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in ids]
    for position in masking.positions.tolist():
        rows[position // ids.shape[1]].append(position % ids.shape[1])
    return rows


def test_every_row_gives_exactly_its_share() -> None:
    ids = make_rows(50, 128)
    assert [len(chosen) for chosen in chosen_per_row(draw(ids), ids)] == [19] * 50  # 15 % of 126


def test_positions_are_distinct() -> None:
    masking = draw(make_rows(200, 128))
    assert len(set(masking.positions.tolist())) == masking.positions.numel()


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(3, 40),
    num_padding=st.integers(0, 20),
    seed=st.integers(0, 2**62),
    way=st.sampled_from(["distinct", "with_replacement"]),
    share=st.floats(0.01, 0.99),
)
def test_special_tokens_and_padding_are_never_chosen(
    length: int, num_padding: int, seed: int, way: str, share: float
) -> None:
    ids = make_rows(4, length + num_padding, num_padding=num_padding)
    masking = draw(ids, keys=row_keys(seed, 3, torch.arange(4)), draw=way, mask_prob=share)
    assert not torch.isin(ids.flatten()[masking.positions], SPECIAL).any()
    changed = masking.masked_ids != ids
    assert set(changed.flatten().nonzero().flatten().tolist()) <= set(masking.positions.tolist())
    assert (masking.masked_ids[changed] == MASK).all()


def test_an_ordinary_token_with_id_zero_can_be_chosen() -> None:
    ids = make_rows(100, 64)
    assert (ids.flatten()[draw(ids).positions] == 0).any()


def test_a_row_without_candidates_gives_nothing() -> None:
    ids = torch.tensor([[CLS, SEP, PAD], [CLS, 20, SEP]])
    assert chosen_per_row(draw(ids), ids) == [[], [1]]


def test_every_candidate_is_equally_likely() -> None:
    ids = make_rows(20_000, 12)
    times = torch.bincount(draw(ids, mask_prob=0.3).positions % 12, minlength=12)
    assert times[0] == times[11] == 0
    assert (times[1:11].double() / 20_000 - 0.3).abs().max() < 0.012  # 3.7 standard deviations


def test_85_percent_are_shown_as_mask_and_the_rest_kept() -> None:
    ids = make_rows(2000, 128)
    masking = draw(ids)
    shown = masking.masked_ids.flatten()[masking.positions]
    is_mask = shown == MASK
    assert abs(is_mask.double().mean().item() - 0.85) < 0.006  # 38,000 draws
    assert (shown[~is_mask] == ids.flatten()[masking.positions][~is_mask]).all()  # kept, never random


@pytest.mark.parametrize("way", ["distinct", "with_replacement"])
def test_a_row_has_the_same_mask_in_any_batch(way: str) -> None:
    ids = make_rows(8, 64)
    keys = row_keys(5, 9, torch.arange(8))
    together = draw(ids, keys=keys, draw=way)
    for row in range(8):
        alone = draw(ids[row : row + 1], keys=keys[row : row + 1], draw=way)
        mine = together.positions // 64 == row
        assert torch.equal(together.positions[mine] - row * 64, alone.positions)
        assert torch.equal(together.sample_keys[mine], alone.sample_keys)
        assert torch.equal(together.masked_ids[row], alone.masked_ids[0])


def test_another_step_gives_another_mask() -> None:
    ids = make_rows(1, 128)
    masks = [draw(ids, keys=row_keys(0, step, torch.arange(1))).positions for step in range(2)]
    assert not torch.equal(*masks)


def test_the_originals_draw_repeats_positions_as_often_as_published() -> None:
    """19 draws among 126 candidates leave 17.7 distinct ones (recipe of the original, L = 128)."""
    ids = make_rows(4000, 128)
    masking = draw(ids, draw="with_replacement", share_of="all_tokens")
    assert masking.positions.numel() == 4000 * 19  # 15 % of 128
    assert abs(masking.positions.unique().numel() / 4000 - 126 * (1 - (125 / 126) ** 19)) < 0.05


def test_the_share_can_be_of_all_tokens() -> None:
    ids = make_rows(1, 12)
    assert draw(ids, mask_prob=0.25).positions.numel() == 2  # of 10
    assert draw(ids, mask_prob=0.25, share_of="all_tokens").positions.numel() == 3  # of 12


def test_bert_shows_eighty_percent_as_mask_ten_at_random_and_keeps_ten() -> None:
    ids = make_rows(2000, 128)
    masking = draw(ids, mask_token_prob=0.8, random_token_prob=0.1)
    shown, original = (one.flatten()[masking.positions] for one in (masking.masked_ids, ids))
    count = len(shown)  # 38,000: a share's standard deviation is below 0.002
    assert abs((shown == MASK).sum() / count - 0.8) < 0.008
    assert abs((shown == original).sum() / count - 0.1) < 0.008
    other = shown[(shown != MASK) & (shown != original)]
    assert abs(len(other) / count - 0.1) < 0.008
    assert set(other.tolist()) == set(range(99)) - {MASK}  # all of the vocabulary, [MASK] shows elsewhere


def test_random_tokens_may_be_the_original_and_change_only_chosen_positions() -> None:
    ids = torch.full((500, 40), 10)
    config = MaskingConfig(mask_prob=0.5, mask_token_prob=0.0, random_token_prob=1.0)
    keys, lengths = row_keys(0, 0, torch.arange(500)), torch.full((500,), 40)
    masking = mask(ids, lengths, keys, special_ids=SPECIAL, mask_id=MASK, vocab_size=20, config=config)
    shown = masking.masked_ids.flatten()[masking.positions]
    assert abs((shown == 10).double().mean() - 1 / 20) < 0.01
    assert int((masking.masked_ids != ids).sum()) == int((shown != 10).sum())


def test_position_drawn_twice_shows_one_random_token_in_any_company() -> None:
    ids = make_rows(50, 64)
    settings = {"draw": "with_replacement", "mask_prob": 0.5, "mask_token_prob": 0.3, "random_token_prob": 0.7}
    together = draw(ids, **settings).masked_ids
    alone = [draw(ids[i : i + 1], keys=row_keys(0, 0, torch.tensor([i])), **settings).masked_ids for i in range(50)]
    assert torch.equal(together, torch.cat(alone))


def test_shares_that_are_more_than_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1 - mask_token_prob"):
        MaskingConfig(mask_token_prob=0.95, random_token_prob=0.1)
    MaskingConfig(mask_token_prob=0.9, random_token_prob=0.1)
