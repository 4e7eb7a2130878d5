"""Span corruption: nothing is lost, counts are exact, sentinels are in order, and the loss is what the paper says."""

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import CLS, PAD, SEP, make_inputs

from electrify.config import MaskingConfig
from electrify.models.inputs import Inputs
from electrify.models.t5_config import T5Config
from electrify.models.t5_heads import T5ForConditionalGeneration
from electrify.noise import row_keys
from electrify.objectives.span import SpanCorruption
from electrify.objectives.span_corruption import SpanDrawer, Texts

VOCAB, NUM_SENTINELS = 60, 20
SENTINELS = tuple(range(VOCAB, VOCAB + NUM_SENTINELS))
SPECIAL = (0, 1, 2, 3, 4)


def drawer(*, num_sentinels: int = NUM_SENTINELS, **config: Any) -> SpanDrawer:
    return SpanDrawer(
        MaskingConfig.model_validate(config),
        special_ids=SPECIAL,
        sentinel_ids=SENTINELS[:num_sentinels],
        pad_id=PAD,
        end_id=SEP,
    )


def texts_of(rows: list[list[int]], one: SpanDrawer, *, step: int = 0, copied: bool = False) -> Texts:
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    is_real = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    keys = row_keys(0, step, torch.arange(len(rows)))
    texts, num_tokens = one.draw(Inputs(ids, is_real), keys, is_copied=torch.full((len(rows),), copied))
    assert num_tokens == sum(len(row) for row in rows)
    return texts


def pairs(texts: Texts) -> list[tuple[list[int], list[int]]]:
    shown = [row[:n] for row, n in zip(texts.shown_ids.tolist(), texts.num_shown.tolist(), strict=True)]
    targets = [row[:n] for row, n in zip(texts.target_ids.tolist(), texts.num_target.tolist(), strict=True)]
    for row, n in zip(texts.shown_ids.tolist() + texts.target_ids.tolist(), map(len, shown + targets), strict=True):
        assert set(row[n:]) <= {PAD}
    return list(zip(shown, targets, strict=True))


def spans_of(target: list[int]) -> dict[int, list[int]]:
    """What a target says stands behind each sentinel."""
    assert target[-1] == SEP
    spans: dict[int, list[int]] = {}
    for token in target[:-1]:
        if token >= VOCAB:
            assert token not in spans
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    return spans


def put_together(shown: list[int], target: list[int]) -> list[int]:
    spans = spans_of(target)
    return [token for one in shown for token in (spans[one] if one >= VOCAB else [one])]


ordinary = st.integers(5, VOCAB - 1)
inner = st.lists(st.one_of(ordinary, ordinary, ordinary, ordinary, st.sampled_from([SEP, 1])), max_size=70)
corpora = st.lists(inner.map(lambda tokens: [CLS, *tokens, SEP]), min_size=1, max_size=5)


@settings(deadline=None, max_examples=150)
@given(
    rows=corpora,
    mask_prob=st.floats(0.02, 0.95),
    mean_span_tokens=st.floats(1, 8),
    share_of=st.sampled_from(["candidates", "all_tokens"]),
    step=st.integers(0, 9),
)
def test_every_row_comes_back_and_its_counts_are_exact(
    rows: list[list[int]], mask_prob: float, mean_span_tokens: float, share_of: str, step: int
) -> None:
    one = drawer(num_sentinels=100, mask_prob=mask_prob, mean_span_tokens=mean_span_tokens, share_of=share_of)
    one.sentinel_ids = torch.arange(VOCAB, VOCAB + 100)
    for row, (shown, target) in zip(rows, pairs(texts_of(rows, one, step=step)), strict=True):
        assert put_together(shown, target) == row
        spans = spans_of(target)
        assert list(spans) == list(range(VOCAB, VOCAB + len(spans)))  # sentinels in order, without a gap
        assert [token for token in shown if token >= VOCAB] == list(spans)
        hidden = [token for span in spans.values() for token in span]
        assert all(spans.values())
        assert not set(hidden) & set(SPECIAL)
        candidates = sum(token not in SPECIAL for token in row)
        base = candidates if share_of == "candidates" else len(row)
        expected = min(max(round(mask_prob * base), 1), candidates)
        assert len(hidden) == expected
        assert len(shown) == len(row) - expected + len(spans)
        assert len(target) == expected + len(spans) + 1


@settings(deadline=None, max_examples=100)
@given(length=st.integers(1, 90), mask_prob=st.floats(0.02, 0.95), mean=st.floats(1, 8), seed=st.integers(0, 1000))
def test_without_special_tokens_inside_the_number_of_spans_is_exact(
    length: int, mask_prob: float, mean: float, seed: int
) -> None:
    row = [CLS, *[5 + n % 40 for n in range(length)], SEP]
    one = drawer(mask_prob=mask_prob, mean_span_tokens=mean)
    ((shown, target),) = pairs(texts_of([row], one, step=seed))
    hidden = min(max(round(mask_prob * length), 1), length)
    most = min(hidden, length - hidden + 1, NUM_SENTINELS - 2)
    assert len(spans_of(target)) == max(1, min(max(1, round(hidden / mean)), most))
    assert all(not (a >= VOCAB and b >= VOCAB) for a, b in pairwise(shown))


def test_the_example_of_the_paper_by_hand() -> None:
    """128 tokens: 19 of 126 hidden, in 6 spans."""
    rows = [[CLS, *[5 + (n * 7 + r) % 50 for n in range(126)], SEP] for r in range(20)]
    for shown, target in pairs(texts_of(rows, drawer(mask_prob=0.15))):
        assert len(spans_of(target)) == 6
        assert (len(shown), len(target)) == (128 - 19 + 6, 19 + 6 + 1)


def test_lengths_are_compositions_and_places_all_alike() -> None:
    """Of 4 tokens in 2 spans, (1, 3), (2, 2) and (3, 1) are equally likely; every token is hidden equally often."""
    row = [CLS, *range(10, 20), SEP]
    one = drawer(mask_prob=0.4, mean_span_tokens=2)
    found: list[tuple[int, ...]] = []
    hidden = torch.zeros(10)
    draws = pairs(texts_of([row] * 9000, one))
    for _, target in draws:
        spans = spans_of(target)
        found.append(tuple(len(span) for span in spans.values()))
        for token in (token for span in spans.values() for token in span):
            hidden[token - 10] += 1
    assert {lengths: round(found.count(lengths) / 9000, 1) for lengths in set(found)} == {
        (1, 3): 0.3, (2, 2): 0.3, (3, 1): 0.3,
    }  # fmt: skip
    # 21 choices of 2 of 7 places for 3 compositions: shares of tokens follow from counting them.
    expected = torch.zeros(10)
    for a in range(7):
        for b in range(a + 1, 7):
            for first in (1, 2, 3):
                expected[a : a + first] += 1
                expected[b + first : b + 4] += 1
    torch.testing.assert_close(hidden / 9000, expected / 63, rtol=0, atol=0.03)


def test_a_row_does_not_depend_on_its_batch() -> None:
    rows = [[CLS, *range(5, 5 + n), SEP] for n in (40, 12, 25)]
    one = drawer(mask_prob=0.3)
    together = pairs(texts_of(rows, one))
    ids = torch.tensor([rows[1]])
    texts, _ = one.draw(Inputs(ids), row_keys(0, 0, torch.tensor([1])), is_copied=torch.tensor([False]))
    assert pairs(texts) == [together[1]]
    assert together != pairs(texts_of(rows, one, step=1))


def test_special_tokens_in_a_span_cut_it_in_two() -> None:
    row = [CLS, 10, 11, SEP, 12, 13, SEP]
    ((shown, target),) = pairs(texts_of([row], drawer(mask_prob=0.99, mean_span_tokens=4)))
    assert shown == [CLS, VOCAB, SEP, VOCAB + 1, SEP]
    assert target == [VOCAB, 10, 11, VOCAB + 1, 12, 13, SEP]


def test_with_few_sentinels_spans_are_longer_and_what_has_none_is_shown() -> None:
    row = [CLS, *range(5, 45), SEP]
    ((shown, target),) = pairs(texts_of([row], drawer(num_sentinels=4, mask_prob=0.5, mean_span_tokens=1)))
    assert len(spans_of(target)) == 2  # two more might have been needed for [CLS] and [SEP], were they inside
    assert sum(len(span) for span in spans_of(target).values()) == 20
    crumbs = [CLS, *[token for n in range(10) for token in (5 + n, SEP)]]
    ((shown, target),) = pairs(texts_of([crumbs], drawer(num_sentinels=4, mask_prob=0.9)))
    assert list(spans_of(target)) == list(SENTINELS[:4])
    assert put_together(shown, target) == crumbs


def test_rows_that_can_not_be_hidden_have_an_empty_target() -> None:
    ((shown, target),) = pairs(texts_of([[CLS, SEP]], drawer()))
    assert (shown, target) == ([CLS, SEP], [SEP])


def test_a_copied_row_is_shown_whole_and_written_without_its_first_token() -> None:
    row = [CLS, 10, 11, SEP, 12, SEP]
    assert pairs(texts_of([row, [CLS, 9, SEP]], drawer(), copied=True)) == [(row, row[1:]), ([CLS, 9, SEP], [9, SEP])]


def test_documents_stay_with_their_tokens() -> None:
    ids = torch.tensor([[CLS, 10, 11, SEP, 12, 13, SEP]])
    documents = torch.tensor([[0, 0, 0, 0, 1, 1, 1]], dtype=torch.int32)
    inputs = Inputs(ids, document_ids=documents)
    texts, _ = drawer(mask_prob=0.99).draw(inputs, row_keys(0, 0, torch.arange(1)), is_copied=torch.tensor([False]))
    shown = texts.shown(inputs)
    assert shown.document_ids is not None
    assert shown.document_ids.tolist() == [[0, 0, 0, 1, 1]]
    assert shown.attention_mask is None


def objective(*, copy_share: float = 0.0, **config: Any) -> SpanCorruption:
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCAB + NUM_SENTINELS, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    network = T5ForConditionalGeneration(T5Config(**sizes, eos_token_id=SEP))
    return SpanCorruption(network, drawer=drawer(**config), sentinels=(), copy_share=copy_share)


def test_loss_is_the_mean_over_the_target_as_transformers_has_it() -> None:
    span = objective(mask_prob=0.3).eval()
    inputs = make_inputs(num_rows=4, num_padding=3)
    rows = span.prepare(inputs, row_keys(0, 0, torch.arange(4)))
    output = span(rows, totals=rows.counts, with_figures=True)
    logits = span.network(rows.inputs, rows.written_ids).flatten(0, 1)[rows.positions["span"]]
    expected = F.cross_entropy(logits, rows.target_ids["span"])
    torch.testing.assert_close(output.loss, expected)
    figures = span.diagnose(span.figures(output))
    is_hidden = rows.target_ids["span"].less(VOCAB) & rows.target_ids["span"].ne(SEP)
    nats = F.cross_entropy(logits[is_hidden].detach(), rows.target_ids["span"][is_hidden])
    assert figures["hidden_nats"] == pytest.approx(float(nats), rel=1e-5)
    is_right = logits.argmax(-1) == rows.target_ids["span"]
    assert figures["span_accuracy"] == pytest.approx(float(is_right.float().mean()))
    assert rows.num_tokens == 4 * 16
    assert rows.written_ids[:, 0].tolist() == [0] * 4


def test_copied_rows_have_a_loss_and_weight_of_their_own() -> None:
    span = objective(copy_share=0.25, mask_prob=0.3).eval()
    rows = span.prepare(make_inputs(num_rows=400), row_keys(0, 0, torch.arange(400)))
    assert rows.counts["copy_loss"] % 15 == 0
    assert 0.2 < rows.counts["copy_loss"] / 15 / 400 < 0.3
    output = span(rows, totals=rows.counts, with_figures=True)
    means = {name: output.sums[name] / count for name, count in rows.counts.items()}
    torch.testing.assert_close(output.loss, 0.75 * means["span_loss"] + 0.25 * means["copy_loss"])
    assert {"copy_accuracy", "span_accuracy"} <= span.diagnose(span.figures(output)).keys()


def test_a_step_learns_from_every_part_of_the_network() -> None:
    span = objective(mask_prob=0.3).train()
    rows = span.prepare(make_inputs(), row_keys(0, 0, torch.arange(4)))
    span(rows, totals=rows.counts).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in span.parameters())


def test_the_mask_rate_moves_in_training_alone() -> None:
    span = objective(mask_prob=0.2, mask_prob_end=0.6)
    span.set_progress(1.0)
    keys = row_keys(0, 0, torch.arange(4))
    counts = {}
    for mode in (True, False):
        rows = span.train(mode).prepare(make_inputs(num_rows=4, length=22), keys)
        counts[mode] = int((rows.target_ids["span"] < VOCAB).sum()) - 4  # without the ends
    assert counts == {True: 4 * 12, False: 4 * 4}


def test_a_decoder_that_knows_frequencies_alone_is_named() -> None:
    span = objective()
    counts = torch.ones(VOCAB)
    assert span.find_trouble({"hidden_nats": 1.0}, counts) is None
    problem = span.find_trouble({"hidden_nats": 4.1}, counts)
    assert problem is not None
    assert "decoder does not learn" in problem
    assert "model.body" not in problem
