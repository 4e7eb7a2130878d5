"""Words and spans: whole but for the last one of a row, exact counts, the same for a row in any company."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from electrify.config import MaskingConfig
from electrify.noise import row_keys
from electrify.objectives.masking import mask
from electrify.objectives.units import draw_lengths, draw_units, number_words

PAD, CLS, SEP, MASK = 1, 2, 3, 4
SPECIAL = torch.tensor([PAD, CLS, SEP, MASK])
PIECE = 60  # ids from here on continue a word


def make_rows(num_rows: int, length: int, *, seed: int = 0) -> Tensor:
    ids = torch.randint(10, 99, (num_rows, length), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = CLS
    ids[:, length // 2] = SEP
    ids[:, -1] = SEP
    return ids


def draw(ids: Tensor, unit: str, *, keys: Tensor | None = None, **settings: object) -> list[list[int]]:
    config = MaskingConfig.model_validate({"unit": unit, **settings})
    keys = row_keys(0, 0, torch.arange(len(ids))) if keys is None else keys
    lengths = (ids != PAD).sum(1)
    found = mask(
        ids, lengths, keys, special_ids=SPECIAL, mask_id=MASK, vocab_size=99, config=config, continues=ids >= PIECE
    )
    rows: list[list[int]] = [[] for _ in ids]
    for position in found.positions.tolist():
        rows[position // ids.shape[1]].append(position % ids.shape[1])
    return rows


def words_of(row: list[int]) -> list[list[int]]:
    words: list[list[int]] = []
    for place, token in enumerate(row):
        if token in (PAD, CLS, SEP, MASK):
            words.append([])
        elif token >= PIECE and words and words[-1]:
            words[-1].append(place)
        else:
            words.append([place])
    return [word for word in words if word]


def test_words_are_numbered_and_a_special_token_ends_one() -> None:
    ids = torch.tensor([[CLS, 70, 71, 10, 72, SEP, 73, 11, PAD]])
    numbers, starts = number_words(~torch.isin(ids, SPECIAL), ids >= PIECE)
    assert numbers[0, [1, 2, 3, 4, 6, 7]].tolist() == [0, 0, 1, 1, 2, 3]
    assert starts[0].nonzero().flatten().tolist() == [1, 3, 6, 7]


@pytest.mark.parametrize("unit", ["word", "span"])
@settings(max_examples=30, deadline=None)
@given(length=st.integers(5, 50), seed=st.integers(0, 2**40), share=st.floats(0.02, 0.9))
def test_counts_are_those_of_single_tokens_and_only_one_word_is_cut(
    unit: str, length: int, seed: int, share: float
) -> None:
    ids = make_rows(4, length, seed=seed % 1000)
    keys = row_keys(seed, 0, torch.arange(4))
    chosen = draw(ids, unit, keys=keys, mask_prob=share)
    plain = draw(ids, "token", keys=keys, mask_prob=share)
    assert [len(row) for row in chosen] == [len(row) for row in plain]
    for row, places in zip(ids.tolist(), chosen, strict=True):
        assert not {row[place] for place in places} & {PAD, CLS, SEP, MASK}
        words = words_of(row)
        cut = [word for word in words if set(word) & set(places) and not set(word) <= set(places)]
        assert len(cut) <= 1
        for word in cut:
            kept = len(set(word) & set(places))
            assert set(word[:kept]) <= set(places)  # its first pieces


def test_single_tokens_do_cut_words() -> None:
    ids = make_rows(20, 60)
    cut = 0
    for row, places in zip(ids.tolist(), draw(ids, "token"), strict=True):
        cut += sum(bool(set(word) & set(places)) and not set(word) <= set(places) for word in words_of(row))
    assert cut > 40


def test_every_word_is_equally_likely_however_long() -> None:
    row = [CLS, 10, 70, 71, 11, 12, 72, 13, 14, 15, SEP]  # words of 3, 1, 2, 1, 1, 1 tokens
    ids = torch.tensor([row] * 20_000)
    chosen = draw(ids, "word", mask_prob=0.1)  # one token: the first of the first word
    starts = torch.bincount(torch.tensor([places[0] for places in chosen]), minlength=len(row))
    for start in (1, 4, 5, 7, 8, 9):
        assert abs(float(starts[start]) / 20_000 - 1 / 6) < 0.011  # 4 standard deviations


@pytest.mark.parametrize("unit", ["word", "span"])
def test_a_row_has_the_same_mask_in_any_batch_and_padding(unit: str) -> None:
    ids = make_rows(8, 48)
    keys = row_keys(5, 9, torch.arange(8))
    together = draw(ids, unit, keys=keys)
    padded = torch.cat([ids, torch.full((8, 7), PAD)], dim=1)
    for row in range(8):
        assert draw(padded[row : row + 1], unit, keys=keys[row : row + 1]) == [together[row]]


def test_lengths_of_spans_are_those_of_spanbert() -> None:
    config = MaskingConfig(unit="span")
    lengths = draw_lengths(row_keys(0, 0, torch.arange(2000)), torch.Size((2000, 100)), config=config)
    assert (int(lengths.min()), int(lengths.max())) == (1, 10)
    assert abs(float(lengths.double().mean()) - 3.797) < 0.025  # 1/p − 10 q¹⁰ / (1 − q¹⁰); Joshi et al.: 3.8
    expected = [0.2 * 0.8 ** (n - 1) / (1 - 0.8**10) for n in range(1, 11)]
    shares = torch.bincount(lengths.flatten(), minlength=11)[1:].double() / lengths.numel()
    assert (shares - torch.tensor(expected)).abs().max() < 0.004


def test_spans_are_longer_runs_than_words_and_cross_no_special_token() -> None:
    ids = torch.full((500, 101), 10)
    ids[:, 50] = SEP

    def runs(unit: str) -> float:
        rows = draw(ids, unit)
        starts = sum(sum(place - 1 not in places for place in places) for places in map(set, rows))
        return sum(map(len, rows)) / starts

    assert runs("word") < 1.3
    assert 2.5 < runs("span") < 4.5
    keys, candidates = row_keys(0, 0, torch.arange(500)), ids != SEP
    config = MaskingConfig(unit="span", span_stop_prob=0.01, max_span_words=100)
    _, columns = draw_units(
        candidates, torch.full((500,), 20), keys, continues=torch.zeros_like(candidates), config=config
    )
    # Spans reach to the border at least: 51 is chosen where one begins there, and not where one begins in 31 to 49,
    # which is in about 95 rows.
    assert int((columns == 51).sum()) < 30
    assert int((columns == 49).sum()) > 60


def test_spans_with_one_word_at_most_are_words() -> None:
    ids = make_rows(50, 60)
    assert draw(ids, "span", max_span_words=1) == draw(ids, "word")
