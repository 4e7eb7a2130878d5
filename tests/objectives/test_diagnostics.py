import math

import pytest
import torch
from support.networks import build, make_inputs, run

from electrify.config import MaskingConfig
from electrify.models.inputs import Inputs
from electrify.objectives.diagnostics import (
    diagnose,
    find_blindness,
    find_plateau,
    plateau_loss,
    summarise,
    unigram_entropy,
)
from electrify.objectives.objective import join_figures


def test_figures_are_those_counted_by_hand() -> None:
    rtd = build().eval()
    rows, output = run(rtd, make_inputs())
    figures = diagnose(summarise(output))
    logits = rtd.generator(Inputs(rows.masking.masked_ids)).flatten(0, 1)
    probabilities = logits[rows.masking.positions].detach().softmax(-1)
    right = output.original_ids
    assert figures["gen_accuracy"] == pytest.approx(float((probabilities.argmax(-1) == right).float().mean()))
    assert figures["gen_sampled_accuracy"] == pytest.approx(float((output.sampled_ids == right).float().mean()))
    entropy = -(probabilities * probabilities.log()).sum(-1).mean()
    assert figures["gen_entropy"] == pytest.approx(float(entropy), rel=1e-5)
    assert figures["share_replaced"] == pytest.approx(float((output.is_replaced).float().mean()))


def test_micro_batches_count_by_their_predictions_not_equally() -> None:
    large, small = (run(build().eval(), make_inputs(rows), step=rows)[1] for rows in (6, 2))
    both = diagnose(join_figures([summarise(large), summarise(small)]))
    entropies = [diagnose(summarise(output))["gen_entropy"] for output in (large, small)]
    sizes = [len(output.original_ids) for output in (large, small)]
    expected = sum(entropy * size for entropy, size in zip(entropies, sizes, strict=True)) / sum(sizes)
    assert both["gen_entropy"] == pytest.approx(expected)


def test_loss_of_guessing_by_frequency_is_the_entropy_of_the_counts() -> None:
    assert unigram_entropy(torch.tensor([0, 5, 5, 0])) == pytest.approx(math.log(2))
    assert unigram_entropy(torch.tensor([7, 0])) == 0
    assert unigram_entropy(torch.tensor([3, 1])) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


@pytest.mark.parametrize(("loss", "is_stuck"), [(2.0, False), (2.95, True), (float("nan"), True)])
def test_network_that_knows_only_frequencies_is_named(loss: float, is_stuck: bool) -> None:
    found = find_plateau("encoder", loss, plateau=3.0)
    assert (found or "").startswith("the encoder does not learn") == is_stuck


def test_discriminator_that_tells_nothing_apart_is_named() -> None:
    assert (find_blindness(0.5) or "").startswith("the discriminator calls everything original")
    assert find_blindness(0.9) is None
    assert find_blindness(float("nan")) is None  # nothing was replaced


def test_plateau_counts_that_kept_tokens_can_be_copied() -> None:
    counts = torch.tensor([5, 5])
    assert plateau_loss(counts, masking=MaskingConfig()) == pytest.approx(0.85 * math.log(2))


def test_plateau_of_a_network_that_is_shown_random_tokens_is_that_of_its_doubt() -> None:
    masking = MaskingConfig(mask_token_prob=0.8, random_token_prob=0.1)
    many = torch.ones(1000)  # so that a random token is hardly ever the original
    # 0.8 + 0.1 by frequency; where a token is shown, it is the original with probability 1/2
    assert plateau_loss(many, masking=masking) == pytest.approx(0.9 * math.log(1000) + 0.2 * math.log(2))


def test_generator_that_rests_on_the_plateau_is_found() -> None:
    """Figures of runs with too high a learning rate: unigram entropy 7.01, 85 % shown as [MASK] (docs/log.md)."""
    for stuck in (5.90, 5.96):
        assert "the generator does not learn" in (find_plateau("generator", stuck, plateau=0.85 * 7.01) or "")
    assert find_plateau("generator", 5.24, plateau=0.85 * 7.01) is None
