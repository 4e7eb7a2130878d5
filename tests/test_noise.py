"""Numbers that are hashes must pass for random ones, and must not depend on what they are computed with."""

import pytest
import torch

from electrify.noise import DROPOUT, MASKED_POSITIONS, SAMPLES, SHOWN_AS_MASK, fold, keep_mask, row_keys, uniform

N = 100_000
SIGMA = 4.5  # one false alarm in 150,000


def numbers(seed: int = 0, step: int = 0, count: int = N) -> torch.Tensor:
    return uniform(row_keys(seed, step, torch.arange(count)))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]).double())[0, 1])


def assert_unrelated(a: torch.Tensor, b: torch.Tensor) -> None:
    assert abs(correlation(a, b)) < SIGMA / a.numel() ** 0.5


def test_uniform_numbers_lie_inside_zero_and_one_at_the_extreme_keys() -> None:
    keys = torch.tensor([0, -1, 2**63 - 1, -(2**63)])
    assert bool(((uniform(keys) > 0) & (uniform(keys) < 1)).all())


def test_uniform_numbers_fill_all_bins_equally() -> None:
    counts = torch.histc(numbers(), bins=100, min=0, max=1)
    chi_square = float(((counts - N / 100) ** 2 / (N / 100)).sum())
    assert 99 - SIGMA * 198**0.5 < chi_square < 99 + SIGMA * 198**0.5  # too even is as bad as too uneven


def test_neighbouring_rows_are_unrelated() -> None:
    values = numbers()
    assert_unrelated(values[:-1], values[1:])


@pytest.mark.parametrize("other", [1, 2, 2**32, 2**62, -1])
def test_neighbouring_seeds_are_unrelated(other: int) -> None:
    assert_unrelated(numbers(seed=0), numbers(seed=other))


@pytest.mark.parametrize("seed", [0, 6, 12345])
def test_seeds_that_differ_in_one_bit_never_see_each_others_numbers(seed: int) -> None:
    mine, theirs = row_keys(seed, 0, torch.arange(N)), row_keys(seed ^ 1, 0, torch.arange(N))
    assert not torch.isin(mine, theirs).any()
    assert_unrelated(uniform(mine), uniform(theirs))


def test_neighbouring_steps_are_unrelated() -> None:
    assert_unrelated(numbers(step=0), numbers(step=1))


def test_seed_step_and_row_do_not_stand_for_each_other() -> None:
    keys = {int(row_keys(a, b, torch.tensor([c]))) for a in range(5) for b in range(5) for c in range(5)}
    assert len(keys) == 125


def test_streams_of_one_key_are_unrelated() -> None:
    keys = row_keys(0, 0, torch.arange(N))
    streams = [uniform(fold(keys, stream)) for stream in (MASKED_POSITIONS, SHOWN_AS_MASK, SAMPLES, DROPOUT)]
    for index, one in enumerate(streams):
        for other in streams[index + 1 :]:
            assert_unrelated(one, other)


def test_folding_in_a_tensor_equals_folding_in_its_numbers() -> None:
    keys = row_keys(0, 0, torch.arange(4))
    together = fold(keys[:, None], torch.arange(3))
    assert torch.equal(together, torch.stack([fold(keys, number) for number in range(3)], dim=1))


def test_a_row_has_one_key_whatever_it_is_batched_with() -> None:
    whole = row_keys(7, 3, torch.arange(10))
    assert torch.equal(row_keys(7, 3, torch.tensor([8, 2])), whole[[8, 2]])


def test_keys_are_those_that_earlier_versions_made() -> None:
    assert row_keys(1, 2, torch.tensor([0, 3])).tolist() == [9204393211411502048, -6841753236114496145]
    kept = keep_mask(torch.tensor([5]), torch.Size([1, 8]), drop_prob=0.5, site=2)
    assert kept.int().tolist() == [[0, 1, 1, 0, 1, 1, 0, 1]]


@pytest.mark.parametrize("drop_prob", [0.0, 0.1, 0.5, 0.9])
def test_share_that_dropout_keeps_is_the_one_asked_for(drop_prob: float) -> None:
    kept = keep_mask(row_keys(0, 0, torch.arange(100)), torch.Size([100, 1000]), drop_prob=drop_prob, site=0)
    sigma = (drop_prob * (1 - drop_prob) / kept.numel()) ** 0.5
    assert abs(float(kept.double().mean()) - (1 - drop_prob)) <= SIGMA * sigma


def half_kept(*, step: int = 0, site: int = 0) -> torch.Tensor:
    return keep_mask(row_keys(0, step, torch.arange(64)), torch.Size([64, 40, 40]), drop_prob=0.5, site=site)


def test_dropout_of_neighbouring_elements_rows_sites_and_steps_is_unrelated() -> None:
    base = half_kept()
    assert_unrelated(base[:, :, :-1].flatten(), base[:, :, 1:].flatten())
    assert_unrelated(base[:, :-1].flatten(), base[:, 1:].flatten())
    assert_unrelated(base[:-1].flatten(), base[1:].flatten())
    assert_unrelated(base.flatten(), half_kept(site=1).flatten())
    assert_unrelated(base.flatten(), half_kept(step=1).flatten())


def test_no_row_of_dropout_is_a_shifted_copy_of_another() -> None:
    rows = keep_mask(row_keys(0, 0, torch.arange(2)), torch.Size([2, 4096]), drop_prob=0.5, site=0).double()
    for shift in range(1, 512):
        assert abs(correlation(rows[0, shift:], rows[1, :-shift])) < 6 / (4096 - shift) ** 0.5


def test_dropout_of_a_row_does_not_depend_on_its_batch() -> None:
    keys = row_keys(0, 0, torch.arange(6))
    whole = keep_mask(keys, torch.Size([6, 5, 3]), drop_prob=0.3, site=4)
    assert torch.equal(keep_mask(keys[[4, 1]], torch.Size([2, 5, 3]), drop_prob=0.3, site=4), whole[[4, 1]])


@pytest.mark.parametrize(("short", "long"), [([4, 6], [9, 6]), ([2, 4, 4], [2, 9, 9])])  # (T, H) and (A, T, T)
def test_dropout_of_a_token_does_not_depend_on_the_padding(short: list[int], long: list[int]) -> None:
    keys = row_keys(0, 0, torch.arange(3))
    padded = keep_mask(keys, torch.Size([3, *long]), drop_prob=0.5, site=1)
    alone = keep_mask(keys, torch.Size([3, *short]), drop_prob=0.5, site=1)
    assert torch.equal(alone, padded[(slice(None), *(slice(size) for size in short))])
