"""The objective, against each way in which public code gets it wrong."""

import pytest
import torch
import torch.nn.functional as F
from support.networks import ELECTRA, MASK, MODERNBERT, PAD, SEP, build, make_inputs, run
from torch import Tensor

from electrify.models.inputs import Inputs

BODIES = pytest.mark.parametrize("body", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])


def seen_by(network: torch.nn.Module) -> list[Inputs]:
    """Return a list that fills with what the network is given."""
    seen: list[Inputs] = []
    network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    return seen


@BODIES
def test_discriminator_reads_the_corrupted_ids_not_the_masked_ones(body: object) -> None:
    rtd = build(body)
    seen = seen_by(rtd.discriminator)
    rows, output = run(rtd, make_inputs())
    assert torch.equal(seen[0].input_ids, output.corrupted_ids)
    expected = rows.inputs.input_ids.flatten().clone()
    expected[rows.masking.positions] = output.sampled_ids
    assert torch.equal(seen[0].input_ids.flatten(), expected)


def test_generator_reads_the_masked_ids() -> None:
    rtd = build()
    seen = seen_by(rtd.generator.body)
    rows, _ = run(rtd, make_inputs())
    assert torch.equal(seen[0].input_ids, rows.masking.masked_ids)
    assert (seen[0].input_ids == MASK).any()


def test_labels_say_whether_a_token_differs_not_whether_it_was_masked() -> None:
    rtd = build()
    with torch.no_grad():  # a generator that always gives token 20
        rtd.generator.generator_lm_head.bias.zero_()[20] = 1e4
    ids = torch.full((4, 16), 20)
    ids[:, ::2] = 30
    _, output = run(rtd, Inputs(ids))
    assert (output.sampled_ids == 20).all()
    assert torch.equal(output.is_replaced.view(4, 16), output.corrupted_ids != ids)
    was_right = output.original_ids == 20
    assert was_right.any()
    assert int(output.is_replaced.sum()) == int((~was_right).sum())


def test_kept_tokens_are_predicted_and_replaced_too() -> None:
    rtd = build()
    rtd.masker.config = rtd.masker.config.model_copy(update={"mask_token_prob": 0.0})  # nothing is shown as [MASK]
    rows, output = run(rtd, make_inputs())
    assert torch.equal(rows.masking.masked_ids, rows.inputs.input_ids)
    assert len(output.best_ids) == rows.num_masked > 0
    assert output.is_replaced.any()


def test_samples_are_drawn_not_the_most_likely_token() -> None:
    rtd = build()
    with torch.no_grad():
        bias = rtd.generator.generator_lm_head.bias.fill_(-1e4)
        bias[20], bias[21] = 1.0, 1.0 - 0.4055  # probabilities 0.6 and 0.4 but for small logits
    share = torch.cat([run(rtd, make_inputs(64), step=step)[1].sampled_ids for step in range(5)])
    assert 0.3 < (share == 21).double().mean() < 0.5


def test_the_generator_predicts_at_chosen_positions_only() -> None:
    rtd = build()
    shapes = []
    rtd.generator.generator_predictions.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    rows, output = run(rtd, make_inputs())
    assert shapes == [(rows.num_masked, rtd.generator.config.hidden_size)]
    assert output.best_ids.shape == (rows.num_masked,)


@BODIES
def test_both_losses_are_what_the_definition_says(body: object) -> None:
    rtd = build(body).eval()
    inputs = make_inputs(num_padding=3)
    rows, output = run(rtd, inputs)
    logits = rtd.generator(Inputs(rows.masking.masked_ids, attention_mask=inputs.attention_mask))
    gen_loss = F.cross_entropy(logits.flatten(0, 1)[rows.masking.positions], output.original_ids)
    scores = rtd.discriminator(Inputs(output.corrupted_ids, attention_mask=inputs.attention_mask))
    is_real = inputs.input_ids != PAD
    labels = (output.corrupted_ids != inputs.input_ids).float()
    disc_loss = F.binary_cross_entropy_with_logits(scores[is_real], labels[is_real])
    torch.testing.assert_close(output.loss, gen_loss + 50 * disc_loss, rtol=1e-5, atol=1e-5)


@BODIES
def test_padding_changes_neither_loss(body: object) -> None:
    rtd = build(body).eval()
    plain, padded = run(rtd, make_inputs())[1], run(rtd, make_inputs(num_padding=7))[1]
    assert torch.equal(plain.sampled_ids, padded.sampled_ids)
    torch.testing.assert_close(plain.loss, padded.loss, rtol=1e-5, atol=1e-5)
    assert padded.disc_logits.numel() == padded.is_replaced.numel() == 4 * 16  # figures are of real tokens only


def test_special_tokens_are_judged_but_never_replaced() -> None:
    inputs = make_inputs()
    _, output = run(build(), inputs)
    assert output.disc_logits.numel() == inputs.input_ids.numel()
    assert (output.corrupted_ids[:, -1] == SEP).all()


def gradients(rtd: torch.nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in rtd.named_parameters()}


def test_discriminator_loss_gives_the_generator_no_gradient() -> None:
    rtd = build(gen_weight=0.0)
    run(rtd, make_inputs())[1].loss.backward()
    for name, gradient in gradients(rtd).items():
        if name.startswith("generator."):
            assert gradient is None or not gradient.any(), name


def test_generator_loss_gives_the_discriminator_no_gradient() -> None:
    rtd = build(disc_weight=0.0)
    run(rtd, make_inputs())[1].loss.backward()
    for name, gradient in gradients(rtd).items():
        if name.startswith("discriminator."):
            assert gradient is None or not gradient.any(), name


def test_weights_are_one_and_fifty_unless_said_otherwise() -> None:
    rows, output = run(build().eval(), make_inputs())
    expected = output.gen_loss / rows.num_masked + 50 * output.disc_loss / rows.num_tokens
    torch.testing.assert_close(output.loss, expected)


@BODIES
def test_micro_batches_sum_up_to_the_batch(body: object) -> None:
    inputs, rtd = make_inputs(6), build(body)
    rows, output = run(rtd, inputs)
    output.loss.backward()
    whole = {name: gradient.clone() for name, gradient in gradients(rtd).items() if gradient is not None}
    rtd.zero_grad()
    for start in (0, 2, 4):
        part = rtd.prepare(Inputs(inputs.input_ids[start : start + 2]), rows.keys[start : start + 2])
        rtd(part, totals=rows.counts).loss.backward()
    for name, gradient in gradients(rtd).items():
        if gradient is not None:
            torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-6)


def test_dropout_happens_in_training_only_and_repeats() -> None:
    rtd = build()
    losses = [run(rtd, make_inputs())[1].loss.item() for _ in range(2)]
    assert losses[0] == losses[1]
    rtd.eval()
    assert run(rtd, make_inputs())[1].loss.item() != losses[0]


def test_the_original_can_be_excluded_from_the_samples() -> None:
    _, output = run(build(exclude_original=True), make_inputs(64))
    assert not (output.sampled_ids == output.original_ids).any()
    assert int(output.is_replaced.sum()) == output.sampled_ids.numel()


def test_penalty_on_the_denominator_is_in_the_loss_and_not_in_the_figures() -> None:
    (rows, plain), (_, penalised) = (run(build(z_loss=z_loss).eval(), make_inputs()) for z_loss in (0.0, 0.5))
    assert torch.equal(plain.gen_loss, penalised.gen_loss)
    rtd = build().eval()
    logits = rtd.generator(Inputs(rows.masking.masked_ids)).flatten(0, 1)[rows.masking.positions]
    expected = plain.loss + 0.5 * logits.logsumexp(-1).square().mean()
    torch.testing.assert_close(penalised.loss, expected, rtol=1e-5, atol=1e-5)
