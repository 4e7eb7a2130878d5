"""Sequence contrastive learning beside replaced token detection: the loss by hand, and what it reads."""

import math

import pytest
import torch
import torch.nn.functional as F
from support.networks import CLS, ELECTRA, MODERNBERT, SEP, make_inputs, run
from support.networks import build as build_rtd

from electrify.config import ObjectiveConfig
from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.objectives.contrastive import Contrastive, contrast

BODIES = pytest.mark.parametrize("body", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])


def build(body: object = ELECTRA, **objective: object) -> Contrastive:
    return Contrastive(build_rtd(body, **objective), objective=ObjectiveConfig.model_validate(objective))


@torch.no_grad()
def by_hand(corrupted: torch.Tensor, cropped: torch.Tensor, temperature: float) -> float:
    """The mean over all views of -log of the share that the other view of the row has."""
    views = [*corrupted, *cropped]
    total = 0.0
    for number, view in enumerate(views):
        partner = (number + len(corrupted)) % len(views)
        scores = [
            math.exp(float(F.cosine_similarity(view, other, dim=0)) / temperature) if place != number else 0.0
            for place, other in enumerate(views)
        ]
        total -= math.log(scores[partner] / sum(scores))
    return total / len(views)


@BODIES
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_loss_is_what_the_definition_says(body: object, pooling: str) -> None:
    objective = build(body, pooling=pooling, contrast_temperature=0.2, contrast_weight=3.0, crop_share=0.6).eval()
    inputs = make_inputs(num_padding=3)
    batch, output = run(objective, inputs)
    vectors = []
    for shown in (Inputs(output.rtd.corrupted_ids, attention_mask=inputs.attention_mask), batch.cropped):
        hidden = objective.rtd.discriminator.body(shown)
        rows = [row[mask] for row, mask in zip(hidden, real(shown), strict=True)]
        vectors.append(torch.stack([row[0] if pooling == "cls" else row.mean(0) for row in rows]))
    expected = by_hand(*vectors, 0.2)
    assert float(output.contrast_loss) / batch.counts["contrast_loss"] == pytest.approx(expected, rel=1e-4)
    _, plain = run(objective.rtd, inputs)
    assert output.loss.item() == pytest.approx(plain.loss.item() + 3 * expected, rel=1e-5)


def real(inputs: Inputs) -> torch.Tensor:
    return (
        torch.ones_like(inputs.input_ids, dtype=torch.bool) if inputs.attention_mask is None else inputs.attention_mask
    )


def test_views_that_are_all_alike_can_only_be_guessed() -> None:
    loss, figures = contrast(F.normalize(torch.ones(4, 2, 6), dim=-1), temperature=0.1)
    assert loss.item() / 8 == pytest.approx(math.log(7))  # any of the other 7 views
    assert float((figures["row_cosine_sums"] / figures["num_other_rows"]).mean()) == pytest.approx(1)


def test_views_that_are_alike_in_a_row_only_cost_nothing() -> None:
    vectors = torch.eye(5)[:, None].expand(-1, 2, -1)
    loss, figures = contrast(vectors, temperature=0.02)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert figures["view_is_nearest"].all()
    assert not figures["row_cosine_sums"].any()


def test_a_row_alone_has_nothing_to_be_told_from() -> None:
    objective = build()
    _, output = run(objective, make_inputs(1))
    assert float(output.contrast_loss) == 0
    assert math.isnan(objective.diagnose(objective.figures(output))["row_cosine"])


def test_both_views_and_all_rows_are_pushed() -> None:
    vectors = F.normalize(torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(0)), dim=-1).requires_grad_()
    contrast(vectors, temperature=0.5)[0].backward()
    assert vectors.grad is not None
    assert (vectors.grad.abs().sum(-1) > 0).all()
    assert torch.autograd.gradcheck(
        lambda x: contrast(x, temperature=0.5)[0], vectors.detach().double().requires_grad_()
    )


def test_figures_are_those_of_the_vectors() -> None:
    objective = build().eval()
    batch, output = run(objective, make_inputs(num_padding=3))
    figures = objective.diagnose(objective.figures(output))
    body = objective.rtd.discriminator.body
    shown = [Inputs(output.rtd.corrupted_ids, attention_mask=batch.rows.inputs.attention_mask), batch.cropped]
    vectors = [
        torch.stack([row[mask].mean(0) for row, mask in zip(body(view), real(view), strict=True)]) for view in shown
    ]
    cosines = [F.cosine_similarity(vectors[0][i], vectors[0][j], dim=0).item() for i in range(4) for j in range(i)]
    assert figures["row_cosine"] == pytest.approx(sum(cosines) / len(cosines), rel=1e-4)
    assert figures["view_cosine"] == pytest.approx(F.cosine_similarity(*vectors).mean().item(), rel=1e-4)
    assert figures.keys() > objective.rtd.diagnose(objective.figures(output)).keys()


def test_it_teaches_the_discriminator_and_not_the_generator() -> None:
    objective = build(gen_weight=0.0, disc_weight=0.0)
    run(objective, make_inputs())[1].loss.backward()
    for name, parameter in objective.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.any())
        assert has_gradient == name.startswith("rtd.discriminator.electra."), name


def test_without_weight_it_is_replaced_token_detection() -> None:
    objective = build(contrast_weight=0.0)
    inputs = make_inputs()
    assert torch.equal(run(objective, inputs)[1].loss, run(objective.rtd, inputs)[1].loss)


def test_both_views_have_dropout_of_their_own_in_training_alone() -> None:
    objective = build(crop_share=1.0)
    seen: list[Inputs] = []
    objective.rtd.discriminator.body.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    run(objective, make_inputs())
    assert not torch.equal(seen[0].dropout_keys, seen[1].dropout_keys)
    run(objective.eval(), make_inputs())
    assert seen[2].dropout_keys is None
    assert seen[3].dropout_keys is None


def test_the_cropped_view_is_of_the_original_and_not_of_the_corrupted_row() -> None:
    batch = build(crop_share=1.0).prepare(make_inputs(), row_keys(0, 0, torch.arange(4)))
    assert torch.equal(batch.cropped.input_ids, make_inputs().input_ids)
    assert (batch.cropped.input_ids[:, 0] == CLS).all()
    assert (batch.cropped.input_ids[:, -1] == SEP).all()
