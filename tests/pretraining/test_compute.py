"""Counted operations of each kind against sums by hand, and budgets against what the steps cost."""

from functools import partial
from pathlib import Path

import pytest
from support.runs import settings

from electrify import recipes
from electrify.config import PretrainConfig
from electrify.data.shards import open_shards
from electrify.models.electra import ElectraConfig
from electrify.models.modernbert import ModernBertConfig
from electrify.models.operations import body_operations
from electrify.models.t5_config import T5Config
from electrify.pretraining.compute import row_cost, rows_of, span_cost, steps_for, token_cost

LARGE = ElectraConfig(
    vocab_size=100, hidden_size=8, embedding_size=4, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
)
SMALL = ElectraConfig(
    vocab_size=100, hidden_size=4, embedding_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
)
# Rows of 10 tokens. A layer: queries, keys, values, output; feed-forward; scores and values of 10 tokens, causal 5.5.
LARGE_BODY = 2 * (4 * 2 * 8 * 8 + 2 * 2 * 8 * 16 + 4 * 10 * 8) + 2 * 4 * 8
LARGE_CAUSAL = 2 * (4 * 2 * 8 * 8 + 2 * 2 * 8 * 16 + 4 * 5.5 * 8) + 2 * 4 * 8
LARGE_BODY_OF_8 = 2 * (4 * 2 * 8 * 8 + 2 * 2 * 8 * 16 + 4 * 8 * 8) + 2 * 4 * 8
SMALL_BODY = 4 * 2 * 4 * 4 + 2 * 2 * 4 * 8 + 4 * 10 * 4
SMALL_CAUSAL = 4 * 2 * 4 * 4 + 2 * 2 * 4 * 8 + 4 * 5.5 * 4
LARGE_TOKEN = 2 * 8 * 4 + 2 * 4 * 100
SMALL_TOKEN = 2 * 4 * 4 + 2 * 4 * 100
JUDGE = 2 * 8 * 8 + 2 * 8
CHOSEN = 0.25 * 0.8  # a quarter of the 8 tokens that are not special
GENERATOR = SMALL_BODY + CHOSEN * SMALL_TOKEN
FORWARD = {
    "rtd": GENERATOR + LARGE_BODY + JUDGE,
    # A view of 8 of 10 tokens, and cosines of 2 views a row with the 2 · 64 of the recipe's batch.
    "contrastive": GENERATOR + LARGE_BODY + JUDGE + 0.8 * LARGE_BODY_OF_8 + 2 * 2 * 128 * 8 / 10,
    "halves": GENERATOR + LARGE_BODY + JUDGE + (2 * 8 * 8 + 2 * 8) / 10,
    "electra-15": GENERATOR + LARGE_BODY + CHOSEN * JUDGE,
    "mlm": LARGE_BODY + CHOSEN * LARGE_TOKEN,
    "clm": LARGE_CAUSAL + 0.9 * LARGE_TOKEN,
    "hybrid": 0.75 * (LARGE_BODY + CHOSEN * LARGE_TOKEN) + 0.25 * (LARGE_CAUSAL + 0.9 * LARGE_TOKEN),
    "replace-mlm": GENERATOR + LARGE_BODY + CHOSEN * LARGE_TOKEN,
    "all-tokens-mlm": GENERATOR + LARGE_BODY + LARGE_TOKEN + 2 * 8,
    "electric": 2 * SMALL_CAUSAL + 0.8 * (2 * 2 * 4 * 4 + 2 * 4 * 100) + LARGE_BODY + JUDGE,
}


def config_of(kind: str, **objective: object) -> PretrainConfig:
    return recipes.parse_config(
        {
            "masking": {"mask_prob": 0.25},
            "objective": {"kind": kind, "causal_share": 0.25, "crop_share": 0.75, **objective},
        },
        source="test",
    )


@pytest.mark.parametrize("kind", FORWARD)
def test_a_token_of_each_kind_by_hand(kind: str) -> None:
    cost = token_cost(config_of(kind), LARGE, SMALL, length=10, num_attended=10)
    assert cost == pytest.approx(3 * FORWARD[kind], rel=1e-12)


def test_a_frozen_generator_has_no_backward_pass() -> None:
    cost = token_cost(config_of("rtd", freeze_generator=True), LARGE, SMALL, length=10, num_attended=10)
    assert cost == pytest.approx(GENERATOR + 3 * (LARGE_BODY + JUDGE), rel=1e-12)


def test_a_mask_rate_that_changes_counts_with_its_mean() -> None:
    def cost(**masking: float) -> float:
        config = recipes.parse_config({"objective": {"kind": "mlm"}, "masking": masking}, source="test")
        return token_cost(config, LARGE, SMALL, length=10, num_attended=10)

    assert cost(mask_prob=0.4, mask_prob_end=0.2) == pytest.approx(cost(mask_prob=0.3))


T5 = T5Config(vocab_size=100, d_model=8, d_kv=3, d_ff=16, num_layers=2, num_decoder_layers=1, num_heads=2)


def read_by_hand(num_read: float) -> float:
    """Of one token that is read among so many: two layers of queries, keys, values, output, scores and ReLU part."""
    return 2 * (4 * 2 * 8 * 6 + 4 * num_read * 6 + 2 * 2 * 8 * 16)


def written_by_hand(num_written: float, num_read: float) -> float:
    """Of one written token: itself and those before it, the encoder's states, the ReLU part, the vocabulary."""
    before = 4 * 2 * 8 * 6 + 4 * (num_written + 1) / 2 * 6
    across = 2 * 2 * 8 * 6 + 2 * 2 * 8 * 6 * num_read / num_written + 4 * num_read * 6
    return before + across + 2 * 2 * 8 * 16 + 2 * 8 * 100


def test_span_corruption_by_hand() -> None:
    """Rows of 26, 24 not special: 6 hidden in 2 spans, so 22 are read and 9 written."""
    cost = span_cost(config_of("span"), T5, length=26, num_attended=26)
    assert cost * 26 == pytest.approx(3 * (22 * read_by_hand(22) + 9 * written_by_hand(9, 22)), rel=1e-12)
    copying = span_cost(config_of("span", copy_share=0.999999), T5, length=26, num_attended=26)
    assert copying * 26 == pytest.approx(3 * (26 * read_by_hand(26) + 25 * written_by_hand(25, 26)), rel=1e-5)


def test_a_run_of_span_corruption_has_a_price(shards: Path) -> None:
    folder = open_shards(shards)
    deep, flat = (
        row_cost(
            recipes.load_recipe(
                "tiny", settings(shards, model={"decoder_layer_ratio": ratio}, objective={"kind": "span"})
            ),
            folder,
        ).whole
        for ratio in (1.0, 0.5)
    )
    assert deep.tokens == flat.tokens
    assert 0.5 < flat.operations / deep.operations < 1


def test_local_and_causal_attention_see_fewer_tokens() -> None:
    config = ModernBertConfig(
        vocab_size=100, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        local_attention=4, global_attn_every_n_layers=2, pad_token_id=0,
    )  # fmt: skip
    layer = 4 * 2 * 8 * 8 + 3 * 2 * 8 * 16
    assert body_operations(config, 10) == 2 * layer + 4 * 8 * (10 + 5)
    # From left to right a token of the local layer sees itself and one before it: 1, 2, 2, … of 10.
    assert body_operations(config, 10, is_causal=True) == pytest.approx(2 * layer + 4 * 8 * (5.5 + 1.9))


def test_steps_of_a_budget_are_the_nearest() -> None:
    config = recipes.parse_config({"training": {"batch_size": 8}}, source="test")
    assert [steps_for(rows, partial(rows_of, config)) for rows in (0.1, 8, 11, 12, 13, 80)] == [1, 1, 1, 2, 2, 10]


def test_steps_of_a_batch_that_grows_cost_fewer_rows_at_first() -> None:
    growing = {"batch_size": 8, "batch_size_start": 2, "batch_warmup_steps": 6}
    config = recipes.parse_config({"training": growing}, source="test")
    assert [rows_of(config, step) for step in range(4)] == [0, 2, 5, 9]
    assert steps_for(9, partial(rows_of, config)) == 3


def test_a_row_of_real_shards_costs_its_tokens(shards: Path) -> None:
    config = recipes.load_recipe("tiny", settings(shards, objective={"kind": "mlm"}))
    folder = open_shards(shards)
    cost = row_cost(config, folder).whole
    assert cost.tokens == pytest.approx((folder.num_tokens("train") / folder.num_rows("train")) + 2, rel=0.1)
    bigger = row_cost(
        recipes.load_recipe("tiny", settings(shards, model={"num_layers": 4}, objective={"kind": "mlm"})), folder
    ).whole
    assert cost.operations < bigger.operations < 2 * cost.operations


def test_rows_that_are_cut_cost_what_their_pieces_cost(shards: Path) -> None:
    # Rows of 24 tokens, 22 of them not special: in steps 0 and 1 pieces of at most 13 and 18 tokens, two a row.
    cut = {"length_start": 13, "length_warmup_steps": 2, "num_steps": 5}
    config = recipes.load_recipe("tiny", settings(shards, objective={"kind": "mlm"}, schedule=cut))
    folder = open_shards(shards)
    cost = row_cost(config, folder)
    assert [step for step, _ in cost.stages] == [0, 1, 2]
    early, late = cost.stages[0][1], cost.whole
    assert cost.stages[1][1].operations == pytest.approx(early.operations, rel=1e-3)  # two halves, but of one short row
    assert early.tokens == pytest.approx(late.tokens + 2, rel=0.01)
    assert cost.stages[2][1] == late
    assert early.operations / early.tokens < late.operations / late.tokens  # a token sees half as many
    total = cost.of(config, 5)
    assert total.operations == pytest.approx(8 * (2 * early.operations + 3 * late.operations), rel=1e-3)
    assert total.tokens == pytest.approx(8 * (2 * early.tokens + 3 * late.tokens), rel=1e-3)
    assert cost.of(config, 1).tokens == pytest.approx(8 * early.tokens)
