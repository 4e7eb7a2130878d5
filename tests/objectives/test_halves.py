"""Halves of rows: which are put together, what the label says, and what the head learns from."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.networks import CLS, ELECTRA, MASK, MODERNBERT, PAD, SEP
from support.networks import build as build_rtd

from electrify.config import ObjectiveConfig
from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.objectives.halves import Halves, mix_halves
from electrify.pretraining.batches import draw_others

BODIES = pytest.mark.parametrize("body", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])


def build(body: object = ELECTRA, **objective: object) -> Halves:
    rtd = build_rtd(body, **objective)
    return Halves(rtd, objective=ObjectiveConfig.model_validate(objective))


def rows_of(lengths: list[int], borders: list[int] | None = None) -> Inputs:
    """Rows whose tokens are 100 · row + place; a document ends before the place of its border."""
    ids = torch.full((len(lengths), max(lengths)), PAD)
    documents = torch.full_like(ids, -1)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.tensor([CLS, *range(100 * row + 101, 100 * row + 99 + length), SEP])
        documents[row, :length] = 0 if borders is None else (torch.arange(length) >= borders[row]).int()
    mask = ids != PAD
    return Inputs(ids, attention_mask=None if bool(mask.all()) else mask, document_ids=documents)


def keys_of(count: int, *, seed: int = 0) -> torch.Tensor:
    return row_keys(seed, 0, torch.arange(count))


@given(lengths=st.lists(st.integers(5, 20), min_size=2, max_size=6).filter(lambda some: len(some) % 2 == 0),
       seed=st.integers(0, 1000))  # fmt: skip
def test_rows_are_made_of_a_first_and_a_second_half(lengths: list[int], seed: int) -> None:
    inputs, keys = rows_of(lengths), keys_of(len(lengths) // 2, seed=seed)
    halved, is_other = mix_halves(inputs, keys, pad_id=PAD)
    assert halved.document_ids is None
    for row in range(len(keys)):
        source = row + len(keys) * int(is_other[row])  # without borders the label is what was done
        inner, theirs = [[100 * one + 101 + place for place in range(lengths[one] - 2)] for one in (row, source)]
        taken = min((lengths[one] - 3) // 2 for one in (row, row + len(keys)))  # the shorter second half
        first, second = inner[: len(inner) - 1 - taken], theirs[len(theirs) - taken :]
        assert len(first) + len(second) == len(inner) - 1
        expected = [CLS, *first, SEP, *second, SEP]
        assert halved.input_ids[row, : len(expected)].tolist() == expected
        assert (halved.input_ids[row, len(expected) :] == PAD).all()
        types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        assert halved.token_type_ids[row, : len(expected)].tolist() == types
        assert not halved.token_type_ids[row, len(expected) :].any()
        if halved.attention_mask is not None:
            assert halved.attention_mask[row].sum() == len(expected)
    assert halved.input_ids.shape[1] <= inputs.input_ids.shape[1]


def segment_lengths(halved: Inputs) -> torch.Tensor:
    """Tokens of both segments of each row, (B, 2)."""
    is_second = halved.token_type_ids
    is_real = torch.ones_like(is_second) if halved.attention_mask is None else halved.attention_mask
    return torch.stack([((1 - is_second) * is_real).sum(1), is_second.sum(1)], dim=1)


@given(lengths=st.lists(st.integers(3, 20), min_size=2, max_size=6).filter(lambda some: len(some) % 2 == 0))
def test_lengths_are_the_same_whichever_half_a_row_gets(lengths: list[int]) -> None:
    inputs, size = rows_of(lengths), len(lengths) // 2
    found: list[set[tuple[int, ...]]] = [set() for _ in range(size)]
    drawn: list[set[bool]] = [set() for _ in range(size)]
    for seed in range(16):
        halved, is_other = mix_halves(inputs, keys_of(size, seed=seed), pad_id=PAD)
        for row, both in enumerate(segment_lengths(halved).tolist()):
            found[row].add(tuple(both))
            drawn[row].add(bool(is_other[row]))
    assert all(len(labels) == 2 for labels in drawn)
    assert all(len(one) == 1 for one in found)


def test_the_label_can_not_be_read_off_lengths() -> None:
    lengths = torch.randint(4, 60, (4000,), generator=torch.Generator().manual_seed(0)).tolist()
    halved, is_other = mix_halves(rows_of(lengths), keys_of(2000), pad_id=PAD)
    first, second = segment_lengths(halved).T
    for rule in (first - second > 2, first > 2 * second, second > 12, first + second > 30):
        assert abs(float((rule == is_other).double().mean()) - 0.5) < 0.04


def test_half_of_the_rows_are_mixed_and_the_same_ones_whatever_they_are_batched_with() -> None:
    keys = keys_of(2000)
    inputs = Inputs(torch.full((4000, 8), 10), document_ids=torch.zeros(4000, 8, dtype=torch.int32))
    _, is_other = mix_halves(inputs, keys, pad_id=PAD)
    assert abs(float(is_other.double().mean()) - 0.5) < 0.03
    alone = [mix_halves(Inputs(torch.full((2, 8), 10), document_ids=torch.zeros(2, 8)), keys[n : n + 1], pad_id=PAD)[1]
             for n in range(20)]  # fmt: skip
    assert torch.equal(torch.cat(alone), is_other[:20])


@pytest.mark.parametrize(("border", "belongs"), [(3, True), (5, False), (6, False), (7, True)])
def test_halves_between_which_a_document_ends_do_not_belong_together(border: int, belongs: bool) -> None:
    # 10 tokens: [CLS], four of the first half, the one that gives way at place 5, three of the second, [SEP].
    inputs = rows_of([10] * 64, [border] * 64)
    keys = keys_of(32)
    _, is_other = mix_halves(inputs, keys, pad_id=PAD)
    _, is_swapped = mix_halves(rows_of([10] * 64), keys, pad_id=PAD)
    assert 0 < is_swapped.sum() < 32
    assert torch.equal(is_other, is_swapped) if belongs else bool(is_other.all())


def test_documents_are_needed() -> None:
    with pytest.raises(ValueError, match="3 rows for 2 keys"):
        mix_halves(Inputs(torch.ones(3, 6, dtype=torch.int64)), keys_of(2), pad_id=PAD)


@given(num_rows=st.integers(2, 30), seed=st.integers(0, 100))
def test_the_other_row_is_another(num_rows: int, seed: int) -> None:
    rows = torch.arange(num_rows)
    others = draw_others(rows.numpy(), row_keys(seed, 3, rows), num_rows=num_rows)
    assert (others != rows.numpy()).all()
    assert (others >= 0).all()
    assert (others < num_rows).all()


def test_all_other_rows_come_up_alike() -> None:
    rows = torch.zeros(6000, dtype=torch.int64)
    keys = row_keys(0, 0, torch.arange(6000))
    shares = torch.bincount(torch.from_numpy(draw_others(rows.numpy(), keys, num_rows=5)), minlength=5) / 6000
    assert shares[0] == 0
    assert (shares[1:] - 0.25).abs().max() < 0.02


def pairs(num_rows: int = 4) -> Inputs:
    ids = torch.randint(5, 60, (2 * num_rows, 16), generator=torch.Generator().manual_seed(3))
    ids[:, 0], ids[:, -1] = CLS, SEP
    return Inputs(ids, document_ids=torch.zeros_like(ids))


def run_pairs(objective: Halves, num_rows: int = 4) -> tuple[object, object]:
    rows = objective.prepare(pairs(num_rows), keys_of(num_rows))
    return rows, objective(rows, totals=rows.counts, with_figures=True)


@BODIES
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_loss_is_what_the_definition_says(body: object, pooling: str) -> None:
    objective = build(body, pooling=pooling, halves_weight=3.0).eval()
    batch, output = run_pairs(objective)
    inputs = batch.rows.inputs
    shown = Inputs(output.rtd.corrupted_ids, token_type_ids=inputs.token_type_ids)
    hidden = objective.rtd.discriminator.body(shown)
    vectors = hidden[:, 0] if pooling == "cls" else hidden.mean(1)
    dense, _, out = objective.relation_head
    logits = out(dense(vectors).tanh()).squeeze(-1)
    expected = F.binary_cross_entropy_with_logits(logits, batch.is_other.float())
    torch.testing.assert_close(output.halves_loss / 4, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.loss, output.rtd.loss + 3 * expected, rtol=1e-4, atol=1e-5)
    assert (inputs.input_ids == SEP).sum() == 2 * 4  # one more in each row
    assert not (inputs.input_ids == MASK).any()


def test_its_loss_teaches_the_discriminator_and_its_head_alone() -> None:
    objective = build(gen_weight=0.0, disc_weight=0.0)
    run_pairs(objective)[1].loss.backward()
    for name, parameter in objective.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.any())
        assert has_gradient == name.startswith(("rtd.discriminator.electra.", "relation_head.")), name


def test_the_head_is_in_no_published_network() -> None:
    objective = build()
    published = {id(one) for network in objective.networks().values() for one in network.parameters()}
    assert not published & {id(one) for one in objective.relation_head.parameters()}
    assert list(objective.networks()) == ["discriminator", "generator"]


@BODIES
def test_micro_batches_sum_up_to_the_batch(body: object) -> None:
    objective, inputs, keys = build(body), pairs(6), keys_of(6)
    rows, output = run_pairs(objective, 6)
    output.loss.backward()
    whole = {name: one.grad.clone() for name, one in objective.named_parameters() if one.grad is not None}
    objective.zero_grad()
    for start in (0, 2, 4):
        some = torch.cat([torch.arange(start, start + 2), torch.arange(start, start + 2) + 6])
        part = Inputs(inputs.input_ids[some], document_ids=inputs.document_ids[some])
        objective(objective.prepare(part, keys[start : start + 2]), totals=rows.counts).loss.backward()
    for name, one in objective.named_parameters():
        if one.grad is not None:
            torch.testing.assert_close(one.grad, whole[name], rtol=1e-4, atol=1e-6)


def test_figures_say_how_often_the_head_is_right() -> None:
    objective = build()
    _, output = run_pairs(objective, 16)
    figures = objective.figures(output)
    figures["halves_scores"] = figures["halves_labels"].float() - 0.5  # a head that is always right
    found = objective.diagnose(figures)
    assert (found["halves_auc"], found["halves_accuracy"]) == (1.0, 1.0)
    assert "disc_auc" in found
