"""Next tokens: the loss by hand, what is predicted, and what must not be seen; alone and mixed with hidden tokens."""

import pytest
import torch
import torch.nn.functional as F
from support.networks import CLS, ELECTRA, MASK, MODERNBERT, PAD, make_inputs, masker, run

from electrify.models.heads import build_decoder, build_generator
from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.objectives.clm import CausalLanguageModelling, find_next
from electrify.objectives.hybrid import HybridLanguageModelling

BODIES = pytest.mark.parametrize("body", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])


def build(body: object = ELECTRA) -> CausalLanguageModelling:
    torch.manual_seed(0)
    return CausalLanguageModelling(build_decoder(body))


def build_hybrid(body: object = ELECTRA, *, causal_share: float = 0.5) -> HybridLanguageModelling:
    torch.manual_seed(0)
    return HybridLanguageModelling(build_generator(body), masker=masker(), causal_share=causal_share)


@BODIES
def test_loss_is_the_cross_entropy_of_each_next_token(body: object) -> None:
    clm, inputs = build(body).eval(), make_inputs(num_padding=3)
    rows, output = run(clm, inputs)
    logits = clm.decoder(inputs)[:, :-1]
    labels = inputs.input_ids[:, 1:]
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=PAD)
    torch.testing.assert_close(output.loss, expected, rtol=1e-5, atol=1e-5)
    assert rows.counts == {"clm_loss": 4 * 15}
    assert rows.num_tokens == 4 * 16


def test_first_tokens_and_padding_are_not_predicted_and_the_last_token_predicts_nothing() -> None:
    inputs = make_inputs(num_padding=2)
    rows, _ = run(build(), inputs)
    assert not ((rows.next_ids == CLS) | (rows.next_ids == PAD)).any()
    assert find_next(inputs)[0].tolist() == [True] * 15 + [False] * 3


def test_where_documents_are_apart_no_token_is_predicted_from_another_one() -> None:
    documents = torch.tensor([[0, 0, 0, 1, 1, 1]])
    inputs = Inputs(torch.full((1, 6), 9), document_ids=documents)
    assert find_next(inputs)[0].tolist() == [True, True, False, True, True, False]


@BODIES
def test_a_token_changes_no_loss_before_it(body: object) -> None:
    clm, ids = build(body).eval(), make_inputs().input_ids
    changed = ids.clone()
    changed[:, 9] = 5 + (ids[:, 9] + 1) % 50
    hidden = [clm.decoder.hidden_states(Inputs(one)) for one in (ids, changed)]
    assert torch.equal(hidden[0][:, :9], hidden[1][:, :9])
    assert not torch.allclose(hidden[0][:, 9:], hidden[1][:, 9:])


@BODIES
def test_padding_does_not_change_the_loss(body: object) -> None:
    clm = build(body)
    plain, padded = run(clm, make_inputs())[1], run(clm, make_inputs(num_padding=7))[1]
    torch.testing.assert_close(plain.loss, padded.loss, rtol=1e-5, atol=1e-5)


@BODIES
def test_hybrid_hides_tokens_in_some_rows_and_reads_the_others_from_left_to_right(body: object) -> None:
    hybrid, inputs = build_hybrid(body).eval(), make_inputs(12, num_padding=3)
    rows, output = run(hybrid, inputs)
    is_causal = rows.inputs.causal
    assert 0 < int(is_causal.sum()) < 12
    assert torch.equal(rows.inputs.input_ids[is_causal], inputs.input_ids[is_causal])
    assert (rows.inputs.input_ids[~is_causal] == MASK).any(1).all()
    mask = inputs.attention_mask
    read = hybrid.networks()["decoder"](Inputs(inputs.input_ids[is_causal], mask[is_causal]))[:, :-1]
    labels = inputs.input_ids[is_causal][:, 1:]
    clm_loss = F.cross_entropy(read.flatten(0, 1), labels.flatten(), ignore_index=PAD)
    filled = hybrid.network(Inputs(rows.inputs.input_ids[~is_causal], mask[~is_causal]))
    whole = masker().draw(inputs, rows.keys, count=lambda *_: {}).masking.positions
    is_hidden = torch.zeros(inputs.input_ids.numel(), dtype=torch.bool)
    is_hidden[whole] = True
    is_hidden = is_hidden.view_as(inputs.input_ids)[~is_causal]
    mlm_loss = F.cross_entropy(filled[is_hidden], inputs.input_ids[~is_causal][is_hidden])
    torch.testing.assert_close(output.loss, 0.5 * mlm_loss + 0.5 * clm_loss, rtol=1e-5, atol=1e-5)


def test_hybrid_draws_one_row_in_so_many_and_the_same_in_any_company() -> None:
    hybrid, ids = build_hybrid(causal_share=1 / 16), make_inputs(1).input_ids.expand(4000, -1)
    keys = row_keys(0, 0, torch.arange(4000))
    together = hybrid.prepare(Inputs(ids), keys).inputs.causal
    assert abs(together.double().mean() - 1 / 16) < 0.015
    alone = [hybrid.prepare(Inputs(ids[:1]), keys[i : i + 1]).inputs.causal for i in range(100)]
    assert torch.equal(together[:100], torch.cat(alone))


@pytest.mark.parametrize(("causal_share", "kind"), [(1e-9, "mlm"), (1 - 1e-9, "clm")])
def test_hybrid_batch_of_one_kind_has_a_loss_and_gradients(causal_share: float, kind: str) -> None:
    hybrid = build_hybrid(causal_share=causal_share)
    rows, output = run(hybrid, make_inputs())
    assert 0 in rows.counts.values()
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(one.grad).all() for one in hybrid.parameters() if one.grad is not None)
    assert hybrid.diagnose(hybrid.figures(output)).keys() == {f"{kind}_accuracy", f"{kind}_entropy"}


@BODIES
def test_micro_batches_of_a_hybrid_sum_up_to_the_batch(body: object) -> None:
    inputs, hybrid = make_inputs(6), build_hybrid(body)
    rows, output = run(hybrid, inputs)
    output.loss.backward()
    whole = {name: one.grad.clone() for name, one in hybrid.named_parameters() if one.grad is not None}
    hybrid.zero_grad()
    for start in (0, 2, 4):
        part = hybrid.prepare(Inputs(inputs.input_ids[start : start + 2]), rows.keys[start : start + 2])
        hybrid(part, totals=rows.counts).loss.backward()
    for name, one in hybrid.named_parameters():
        if one.grad is not None:
            torch.testing.assert_close(one.grad, whole[name], rtol=1e-4, atol=1e-6)


def test_hybrid_is_published_as_what_fills_in_and_what_continues() -> None:
    networks = build_hybrid().networks()
    assert [(name, type(one).__name__) for name, one in networks.items()] == [
        ("encoder", "ElectraForMaskedLM"), ("decoder", "ElectraForCausalLM")
    ]  # fmt: skip
