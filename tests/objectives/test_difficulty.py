"""Hard tokens are masked more often: the weights by hand, exact counts, and what a step leaves."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.networks import CLS, SEP, VOCAB, make_inputs, masker, run
from support.networks import build as build_rtd

from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.objectives.difficulty import Difficulty
from electrify.objectives.masking import draw_distinct


def alone(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over the processes, of which there is one."""
    return tensor


def learned(share: float = 1.0) -> Difficulty:
    """Token 0 cost 1 and 3 nats, token 1 cost 8; of token 2 nothing is known. The mean is 4 nats."""
    difficulty = Difficulty(3, share)
    difficulty.observe(torch.tensor([0, 1]), torch.tensor([1.0, 8.0]))
    difficulty.observe(torch.tensor([0]), torch.tensor([3.0]))
    difficulty.end_step(alone)
    return difficulty


def test_weights_follow_the_mean_loss_of_each_token() -> None:
    expected = [(4 + 4) / 3 / 4, (8 + 4) / 2 / 4, 4 / 4]  # each as if seen once more at the mean
    torch.testing.assert_close(learned().weights(), torch.tensor(expected).double(), rtol=1e-5, atol=0)
    halved = torch.tensor([0.5 + 0.5 * one for one in expected]).double()
    torch.testing.assert_close(learned(0.5).weights(), halved, rtol=1e-5, atol=0)


def test_all_tokens_are_alike_before_anything_is_known() -> None:
    assert Difficulty(5, 1.0).weights().tolist() == [1.0] * 5


def test_what_is_known_fades() -> None:
    difficulty = learned()
    for _ in range(693):  # half of it: 0.999^693 = 0.5
        difficulty.end_step(alone)
    assert difficulty.tally[1].tolist() == pytest.approx([1.0, 0.5, 0.0], rel=1e-3)


def test_a_step_that_is_left_out_leaves_nothing() -> None:
    difficulty = learned()
    before = difficulty.tally.clone()
    difficulty.observe(torch.tensor([2]), torch.tensor([9.0]))
    difficulty.end_step(None)
    assert torch.equal(difficulty.tally, before)
    difficulty.end_step(alone)
    assert difficulty.tally[1, 2] == 0


def test_losses_that_are_no_numbers_are_left_out() -> None:
    difficulty = Difficulty(2, 1.0)
    difficulty.observe(torch.tensor([0, 1, 1]), torch.tensor([2.0, math.nan, math.inf]))
    difficulty.end_step(alone)
    torch.testing.assert_close(difficulty.tally.detach(), torch.tensor([[2.0, 0.0], [1.0, 0.0]]))


def test_sums_do_not_depend_on_the_order_of_the_losses() -> None:
    draw = torch.Generator().manual_seed(0)
    ids, losses = torch.randint(0, 5, (5000,), generator=draw), 20 * torch.rand(5000, generator=draw)
    order = torch.randperm(5000, generator=draw)
    first, second = Difficulty(5, 1.0), Difficulty(5, 1.0)
    first.observe(ids, losses)
    second.observe(ids[order[:100]], losses[order[:100]])
    second.observe(ids[order[100:]], losses[order[100:]])
    assert torch.equal(first.pending, second.pending)


@given(seed=st.integers(0, 500), count=st.integers(0, 12))
def test_weights_leave_counts_and_candidates_as_they_are(seed: int, count: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    is_candidate = torch.rand(3, 12, generator=draw) < 0.7
    counts = is_candidate.sum(1).clamp(max=count)
    weights = torch.rand(3, 12, generator=draw) + 1e-3
    rows, columns = draw_distinct(is_candidate, counts, row_keys(seed, 0, torch.arange(3)), weights)
    assert torch.bincount(rows, minlength=3).tolist() == counts.tolist()
    assert is_candidate[rows, columns].all()
    assert len({*zip(rows.tolist(), columns.tolist(), strict=True)}) == len(rows)


def test_first_draws_are_in_proportion_to_the_weights() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0, 8.0]).expand(20_000, 4)
    is_candidate = torch.tensor([True, True, True, False]).expand(20_000, 4)
    _, columns = draw_distinct(is_candidate, torch.ones(20_000).long(), row_keys(0, 0, torch.arange(20_000)), weights)
    shares = torch.bincount(columns, minlength=4) / 20_000
    torch.testing.assert_close(shares, torch.tensor([1.0, 2.0, 5.0, 0.0]) / 8, atol=0.01, rtol=0)


def test_equal_weights_keep_every_position_as_likely() -> None:
    one = torch.ones(20_000, 4)
    _, columns = draw_distinct(one > 0, torch.full((20_000,), 2), row_keys(0, 0, torch.arange(20_000)), one)
    torch.testing.assert_close(torch.bincount(columns) / 40_000, torch.full((4,), 0.25), atol=0.01, rtol=0)


def test_a_hard_token_is_masked_more_often_in_training_and_held_out_rows_are_not_touched() -> None:
    inputs = Inputs(torch.tensor([[CLS, *[10, 20] * 10, SEP]]).expand(200, -1))
    drawing = masker(adaptive=1.0)
    drawing.difficulty.observe(torch.tensor([10, 20]), torch.tensor([1.0, 6.0]))
    drawing.difficulty.end_step(alone)
    shares = []
    for is_training in (True, False):
        drawing.train(is_training)
        rows = drawing.draw(inputs, row_keys(0, 0, torch.arange(200)), count=lambda *_: {})
        assert rows.num_masked == 200 * 6  # 30 % of 20, in every row
        shares.append(float((rows.original_ids == 20).double().mean()))
    assert shares[0] > 0.65
    assert abs(shares[1] - 0.5) < 0.05


def test_generator_tells_what_was_hard() -> None:
    rtd = build_rtd()
    rtd.masker = masker(adaptive=0.5)
    rows, output = run(rtd, make_inputs())
    pending = rtd.masker.difficulty.pending.clone()
    assert torch.equal(pending[1], torch.bincount(rows.original_ids, minlength=VOCAB))
    assert float(pending[0].sum()) * 2.0**-20 == pytest.approx(float(output.gen_loss), rel=1e-5)
    run(rtd.eval(), make_inputs())
    assert torch.equal(rtd.masker.difficulty.pending, pending)  # held-out rows tell nothing
