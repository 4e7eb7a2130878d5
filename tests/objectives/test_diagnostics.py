import math

import pytest
import torch
from support.networks import build, make_inputs, run

from electrify.models.inputs import Inputs
from electrify.objectives.diagnostics import diagnose, find_trouble, plateau_loss, summarise, unigram_entropy
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


@pytest.mark.parametrize(
    ("gen_loss", "disc_auc", "trouble"),
    [
        (2.0, 0.9, None),
        (2.95, 0.9, "the generator does not learn"),
        (float("nan"), 0.9, "the generator does not learn"),
        (2.0, 0.5, "the discriminator calls everything original"),
        (2.0, float("nan"), None),  # nothing was replaced
    ],
)
def test_network_that_does_not_learn_is_named(gen_loss: float, disc_auc: float, trouble: str | None) -> None:
    found = find_trouble(gen_loss, disc_auc, plateau=3.0)
    assert found is None if trouble is None else (found or "").startswith(trouble)


def test_plateau_counts_that_kept_tokens_can_be_copied() -> None:
    assert plateau_loss(torch.tensor([5, 5]), mask_token_prob=0.85) == pytest.approx(0.85 * math.log(2))


def test_generator_that_rests_on_the_plateau_is_found() -> None:
    """Figures of runs with too high a learning rate: unigram entropy 7.01, 85 % shown as [MASK] (docs/log.md)."""
    for stuck in (5.90, 5.96):
        assert "the generator does not learn" in (find_trouble(stuck, 0.6, plateau=0.85 * 7.01) or "")
    assert find_trouble(5.24, 0.67, plateau=0.85 * 7.01) is None
