"""Electric: the noise model sees all but the token it predicts; the loss is that of noise-contrastive estimation."""

import pytest
import torch
import torch.nn.functional as F
from support.networks import CLS, ELECTRA, MASK, MODERNBERT, SEP, make_inputs, masker, run

from electrify.config import ObjectiveConfig
from electrify.models.heads import build_decoder, build_discriminator
from electrify.models.inputs import Inputs
from electrify.objectives.electric import Electric
from electrify.objectives.sharing import share_embeddings
from electrify.objectives.two_towers import TwoTowers

BODIES = pytest.mark.parametrize("body", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])


def towers(body: object = ELECTRA) -> TwoTowers:
    torch.manual_seed(0)
    forwards, backwards = build_decoder(body), build_decoder(body)
    share_embeddings(backwards, forwards, "word")
    noise = TwoTowers(forwards, backwards)
    with torch.no_grad():
        for parameter in noise.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return noise


def build(body: object = ELECTRA, **objective: object) -> Electric:
    noise = towers(body)
    scorer = build_discriminator(body)
    return Electric(scorer, noise, masker=masker(), objective=ObjectiveConfig.model_validate(objective))


def logits(noise: TwoTowers, inputs: Inputs) -> torch.Tensor:
    """Scores of the vocabulary at every position, (B, T, V)."""
    positions = torch.arange(inputs.input_ids.numel())
    return F.linear(noise(inputs, positions, None), noise.table, noise.bias).view(*inputs.input_ids.shape, -1)


@BODIES
def test_a_position_is_predicted_from_both_sides_and_not_from_itself(body: object) -> None:
    noise, inputs = towers(body), make_inputs(1, num_padding=3)
    before = logits(noise, inputs)[0]
    for place in (0, 6, 15):
        ids = inputs.input_ids.clone()
        ids[0, place] = 5 + (ids[0, place] + 1) % 50
        after = logits(noise, Inputs(ids, inputs.attention_mask))[0]
        assert torch.equal(before[place], after[place])
        for neighbour in {max(place - 1, 0), min(place + 1, 15)} - {place}:
            assert not torch.allclose(before[neighbour], after[neighbour], atol=1e-4)


@BODIES
def test_padding_does_not_change_the_noise(body: object) -> None:
    noise = towers(body)
    plain, padded = (logits(noise, make_inputs(num_padding=some))[:, :16] for some in (0, 5))
    torch.testing.assert_close(plain, padded, rtol=1e-4, atol=1e-5)


def test_where_documents_are_apart_the_noise_of_one_does_not_read_the_other() -> None:
    noise, ids = towers(), make_inputs(1).input_ids
    documents = (torch.arange(16) >= 8).long()[None]
    changed = ids.clone()
    changed[0, 8:] = 7
    before, after = (logits(noise, Inputs(one, document_ids=documents))[0, :8] for one in (ids, changed))
    assert torch.equal(before, after)


def test_towers_without_a_common_table_are_refused() -> None:
    with pytest.raises(ValueError, match="word table"):
        TwoTowers(build_decoder(ELECTRA), build_decoder(ELECTRA))


@BODIES
def test_losses_are_what_the_definition_says(body: object) -> None:
    electric, inputs = build(body, gen_weight=2.0, disc_weight=3.0).eval(), make_inputs(num_padding=3)
    seen: list[Inputs] = []
    electric.scorer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch, output = run(electric, inputs)
    is_scored = ~torch.isin(inputs.input_ids, electric.masker.special_ids)
    log_q = logits(electric.noise, inputs).log_softmax(-1)
    noise_loss = -log_q.gather(-1, inputs.input_ids[..., None]).squeeze(-1)[is_scored].mean()
    shown = seen[0].input_ids
    assert not (shown == MASK).any()
    is_noise = torch.zeros(inputs.input_ids.numel(), dtype=torch.bool)
    is_noise[batch.rows.masking.positions] = True
    is_noise = is_noise.view_as(shown)
    assert torch.equal(shown[~is_noise], inputs.input_ids[~is_noise])
    energies = electric.scorer(Inputs(shown, inputs.attention_mask))
    density = (-energies).exp()
    drawn = log_q.gather(-1, shown[..., None]).squeeze(-1).exp()
    k, n = is_noise.sum(1, keepdim=True), is_scored.sum(1, keepdim=True)
    share_of_noise = k * drawn / (k * drawn + (n - k) * density)
    terms = torch.where(is_noise, share_of_noise, 1 - share_of_noise).log()
    expected = 2 * noise_loss - 3 * terms[is_scored].mean()
    torch.testing.assert_close(output.loss, expected.detach(), rtol=1e-4, atol=1e-5, check_stride=False)
    assert batch.counts == {"noise_loss": int(is_scored.sum()), "nce_loss": int(is_scored.sum())}
    assert not (shown[is_scored & is_noise] == CLS).all()
    assert (shown[:, 15] == SEP).all()


def test_a_draw_that_is_the_original_is_noise_all_the_same() -> None:
    electric, inputs = build().eval(), Inputs(torch.full((4, 16), 20))
    with torch.no_grad():
        electric.noise.forwards.generator_lm_head.bias[20] = 1e4
    batch, output = run(electric, inputs)
    assert int(output.more["noise_labels"].sum()) == batch.rows.num_masked > 0


def test_scorer_loss_gives_the_noise_model_no_gradient_and_the_other_way_round() -> None:
    for weights, blind in (({"gen_weight": 0.0}, "noise."), ({"disc_weight": 0.0}, "scorer.")):
        electric = build(**weights)
        run(electric, make_inputs())[1].loss.backward()
        for name, one in electric.named_parameters():
            has = one.grad is not None and bool(one.grad.any())
            assert not (has and name.startswith(blind)), name
        assert any(one.grad is not None and one.grad.any() for one in electric.parameters())


def test_energies_become_the_probabilities_of_tokens() -> None:
    """Tokens are drawn by known shares and noise is uniform: only then is exp(-E) the share, context means nothing."""
    shares, generator = torch.tensor([0.5, 0.3, 0.15, 0.05]), torch.Generator().manual_seed(0)
    electric = build(gen_weight=0.0).eval()
    for tower in (electric.noise.forwards, electric.noise.backwards):
        with torch.no_grad():
            norm = tower.generator_predictions.LayerNorm
            norm.weight.zero_(), norm.bias.zero_()
            tower.generator_lm_head.bias.fill_(-1e3)[20:24] = 0.0
    optimizer = torch.optim.Adam(electric.scorer.parameters(), lr=5e-3)
    sums, counts = torch.zeros(4), torch.zeros(4)
    for step in range(160):
        ids = 20 + torch.multinomial(shares, 64 * 20, replacement=True, generator=generator).view(64, 20)
        batch, output = run(electric, Inputs(ids), step=step)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        if step >= 80:
            kept = ids.flatten()[batch.kept_positions] - 20
            sums.index_add_(0, kept, (-output.more["energies"][~output.more["noise_labels"]]).exp())
            counts += torch.bincount(kept, minlength=4)
    learned = sums / counts
    assert (learned - shares).abs().max() < 0.07  # it reads a little from how many of a row can be noise


@BODIES
def test_micro_batches_sum_up_to_the_batch(body: object) -> None:
    inputs, electric = make_inputs(6), build(body)
    batch, output = run(electric, inputs)
    output.loss.backward()
    whole = {name: one.grad.clone() for name, one in electric.named_parameters() if one.grad is not None}
    electric.zero_grad()
    for start in (0, 2, 4):
        part = electric.prepare(Inputs(inputs.input_ids[start : start + 2]), batch.rows.keys[start : start + 2])
        electric(part, totals=batch.counts).loss.backward()
    for name, one in electric.named_parameters():
        if one.grad is not None:
            torch.testing.assert_close(one.grad, whole[name], rtol=1e-4, atol=1e-6)
