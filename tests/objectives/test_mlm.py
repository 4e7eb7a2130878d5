"""Masked language modelling: the loss by hand, and what must not count."""

import pytest
import torch
import torch.nn.functional as F
from support.networks import ELECTRA, MODERNBERT, make_inputs, masker, run
from support.networks import build as build_rtd

from electrify.models.heads import build_generator
from electrify.models.inputs import Inputs
from electrify.objectives.mlm import MaskedLanguageModelling

BODIES = pytest.mark.parametrize("body", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])


def build(body: object = ELECTRA, **masking: object) -> MaskedLanguageModelling:
    torch.manual_seed(0)
    return MaskedLanguageModelling(build_generator(body), masker=masker(**masking))


@BODIES
def test_loss_is_the_cross_entropy_at_the_chosen_positions_alone(body: object) -> None:
    mlm = build(body, mask_token_prob=0.8, random_token_prob=0.1).eval()
    inputs = make_inputs(num_padding=3)
    rows, output = run(mlm, inputs, step=1)
    logits = mlm.encoder(Inputs(rows.masking.masked_ids, attention_mask=inputs.attention_mask)).flatten(0, 1)
    chosen = rows.masking.positions
    expected = F.cross_entropy(logits[chosen], inputs.input_ids.flatten()[chosen])
    torch.testing.assert_close(output.loss, expected, rtol=1e-5, atol=1e-5)
    everywhere = F.cross_entropy(logits, inputs.input_ids.flatten())
    assert (output.loss - everywhere).abs() > 1e-3
    assert rows.counts == {"mlm_loss": len(chosen)}


def test_figures_are_those_counted_by_hand() -> None:
    mlm = build().eval()
    rows, output = run(mlm, make_inputs())
    figures = mlm.diagnose(mlm.figures(output))
    logits = mlm.encoder(Inputs(rows.masking.masked_ids)).flatten(0, 1)[rows.masking.positions].detach()
    right = (logits.argmax(-1) == rows.original_ids).double().mean()
    assert figures["mlm_accuracy"] == pytest.approx(float(right))
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    assert figures["mlm_entropy"] == pytest.approx(float(entropy), rel=1e-5)


def test_figures_of_a_pass_without_them_are_refused() -> None:
    mlm = build()
    rows = run(mlm, make_inputs())[0]
    with pytest.raises(ValueError, match="without figures"):
        mlm.figures(mlm(rows, totals=rows.counts))


@BODIES
def test_padding_does_not_change_the_loss(body: object) -> None:
    mlm = build(body).eval()
    plain, padded = run(mlm, make_inputs())[1], run(mlm, make_inputs(num_padding=7))[1]
    torch.testing.assert_close(plain.loss, padded.loss, rtol=1e-5, atol=1e-5)


def test_masks_are_those_of_replaced_token_detection() -> None:
    """So that runs of both learn from the same positions."""
    mine, theirs = (run(network, make_inputs())[0] for network in (build(), build_rtd()))
    assert torch.equal(mine.masking.masked_ids, theirs.masking.masked_ids)


def test_one_network_is_published_as_the_encoder() -> None:
    mlm = build()
    assert mlm.networks() == {"encoder": mlm.encoder}
