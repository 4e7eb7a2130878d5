"""The ablations of the ELECTRA paper ("Efficiency Analysis"): each loss by hand, and where gradients must not go."""

import pytest
import torch
import torch.nn.functional as F
from support.networks import ELECTRA, MODERNBERT, make_inputs, masker, run
from support.networks import build as build_rtd

from electrify.config import ObjectiveConfig
from electrify.models.heads import build_generator
from electrify.models.inputs import Inputs
from electrify.objectives.all_tokens_mlm import AllTokensMLM
from electrify.objectives.objective import AnyObjective
from electrify.objectives.replace_mlm import ReplaceMLM

BODIES = pytest.mark.parametrize("body", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])
KINDS = pytest.mark.parametrize("kind", [ReplaceMLM, AllTokensMLM])


def build(kind: type[AnyObjective], body: object = ELECTRA, **objective: object) -> AnyObjective:
    torch.manual_seed(0)
    networks = build_generator(body), build_generator(body)
    return kind(*networks, masker=masker(), objective=ObjectiveConfig.model_validate(objective))


def corrupted(objective: AnyObjective) -> list[Inputs]:
    """Return a list that fills with what the second network is given."""
    seen: list[Inputs] = []
    objective.encoder.body.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    return seen


def test_electra_15_judges_the_chosen_positions_alone() -> None:
    rtd = build_rtd(judges_all=False).eval()
    inputs = make_inputs(num_padding=3)
    rows, output = run(rtd, inputs)
    chosen = rows.masking.positions
    scores = rtd.discriminator(Inputs(output.corrupted_ids, attention_mask=inputs.attention_mask)).flatten()
    labels = (output.corrupted_ids != inputs.input_ids).flatten().float()
    expected = F.binary_cross_entropy_with_logits(scores[chosen], labels[chosen])
    torch.testing.assert_close(output.disc_loss / rows.counts["disc_loss"], expected, rtol=1e-5, atol=1e-5)
    assert rows.counts["disc_loss"] == len(chosen)
    everywhere = F.binary_cross_entropy_with_logits(scores, labels)
    assert (everywhere - expected).abs() > 1e-3
    gen_loss = output.gen_loss / len(chosen)
    torch.testing.assert_close(output.loss, gen_loss + 50 * expected, rtol=1e-5, atol=1e-5)


def test_electra_15_judges_a_position_that_was_drawn_twice_once() -> None:
    rtd = build_rtd(judges_all=False)
    rtd.masker.config = rtd.masker.config.model_copy(update={"draw": "with_replacement", "mask_prob": 0.8})
    rows, output = run(rtd, make_inputs())
    distinct = rows.masking.positions.unique().numel()
    assert rows.counts["gen_loss"] > distinct == rows.counts["disc_loss"] == output.disc_logits.numel()


@BODIES
def test_replace_mlm_is_the_cross_entropy_of_the_originals_where_samples_stand(body: object) -> None:
    objective = build(ReplaceMLM, body, gen_weight=2.0, encoder_weight=3.0).eval()
    seen, inputs = corrupted(objective), make_inputs(num_padding=3)
    rows, output = run(objective, inputs)
    chosen, mask = rows.masking.positions, inputs.attention_mask
    expected_ids = inputs.input_ids.flatten().clone()
    expected_ids[chosen] = output.scores["gen"].sampled_ids
    assert torch.equal(seen[0].input_ids.flatten(), expected_ids)  # no [MASK] among them
    logits = objective.encoder(Inputs(seen[0].input_ids, attention_mask=mask)).flatten(0, 1)
    theirs = objective.generator(Inputs(rows.masking.masked_ids, attention_mask=mask)).flatten(0, 1)
    losses = [F.cross_entropy(one[chosen], rows.original_ids) for one in (theirs, logits)]
    torch.testing.assert_close(output.loss, 2 * losses[0] + 3 * losses[1], rtol=1e-5, atol=1e-5)


@BODIES
def test_all_tokens_mlm_mixes_the_softmax_with_a_copy_of_the_input(body: object) -> None:
    objective = build(AllTokensMLM, body).eval()
    torch.nn.init.normal_(objective.copy_gate.weight)
    seen, inputs = corrupted(objective), make_inputs(num_padding=3)
    rows, output = run(objective, inputs)
    shown = Inputs(seen[0].input_ids, attention_mask=inputs.attention_mask)
    hidden = objective.encoder.hidden_states(shown)
    copy = objective.copy_gate(hidden).sigmoid()  # (B, T, 1)
    softmax = objective.encoder.logits(hidden).softmax(-1)
    mixed = copy * F.one_hot(shown.input_ids, softmax.shape[-1]) + (1 - copy) * softmax
    torch.testing.assert_close(mixed.sum(-1), torch.ones(mixed.shape[:2]))
    is_real = inputs.attention_mask
    of_original = mixed.gather(-1, inputs.input_ids[..., None]).squeeze(-1)[is_real]
    expected = -of_original.log().mean()
    torch.testing.assert_close(output.sums["mlm_loss"] / int(is_real.sum()), expected, rtol=1e-5, atol=1e-5)
    assert rows.counts["mlm_loss"] == int(is_real.sum()) == 4 * 16
    (expected + output.scores["gen"].loss.detach()).backward()
    names = [name for name, _ in objective.named_parameters() if not name.startswith("generator.")]
    theirs = {name: one.grad.clone() for name, one in objective.named_parameters() if name in names}
    objective.zero_grad()
    run(objective, inputs)[1].loss.backward()
    for name in names:
        mine = dict(objective.named_parameters())[name].grad
        torch.testing.assert_close(mine, theirs[name], rtol=1e-4, atol=1e-6, msg=name)


def test_gate_is_judged_by_how_it_ranks_originals() -> None:
    objective = build(AllTokensMLM).eval()
    _, output = run(objective, make_inputs())
    figures = objective.figures(output)
    figures["copy_scores"] = figures["copy_labels"].double()  # a gate that is always right
    assert objective.diagnose(figures)["copy_auc"] == 1.0
    assert int(figures["mlm_num_predicted"]) == int(figures["copy_labels"].sum())  # at replaced tokens only


@KINDS
def test_encoder_loss_gives_the_generator_no_gradient(kind: type[AnyObjective]) -> None:
    objective = build(kind, gen_weight=0.0)
    run(objective, make_inputs())[1].loss.backward()
    for name, one in objective.named_parameters():
        if name.startswith("generator."):
            assert one.grad is None or not one.grad.any(), name
        elif "encoder" in name:
            assert one.grad is not None, name


@KINDS
def test_generator_loss_gives_the_encoder_no_gradient(kind: type[AnyObjective]) -> None:
    objective = build(kind, encoder_weight=0.0)
    run(objective, make_inputs())[1].loss.backward()
    for name, one in objective.named_parameters():
        if not name.startswith("generator."):
            assert one.grad is None or not one.grad.any(), name


@KINDS
@BODIES
def test_micro_batches_sum_up_to_the_batch(kind: type[AnyObjective], body: object) -> None:
    inputs, objective = make_inputs(6), build(kind, body)
    rows, output = run(objective, inputs)
    output.loss.backward()
    whole = {name: one.grad.clone() for name, one in objective.named_parameters() if one.grad is not None}
    objective.zero_grad()
    for start in (0, 2, 4):
        part = objective.prepare(Inputs(inputs.input_ids[start : start + 2]), rows.keys[start : start + 2])
        objective(part, totals=rows.counts).loss.backward()
    for name, one in objective.named_parameters():
        if one.grad is not None:
            torch.testing.assert_close(one.grad, whole[name], rtol=1e-4, atol=1e-6)


@KINDS
def test_the_encoder_is_what_is_fine_tuned(kind: type[AnyObjective]) -> None:
    assert list(build(kind).networks()) == ["encoder", "generator"]
