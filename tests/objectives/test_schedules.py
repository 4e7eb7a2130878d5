import pytest
import torch
from support.networks import build, make_inputs, run

from electrify.config import MaskingConfig, ObjectiveConfig
from electrify.objectives.schedules import masking_at, objective_at


def test_settings_without_a_schedule_stay_the_same() -> None:
    masking, objective = MaskingConfig(), ObjectiveConfig()
    assert masking_at(masking, 0.5) is masking
    assert objective_at(objective, 0.5) is objective


def test_share_and_weight_move_on_a_line_and_temperature_by_a_factor() -> None:
    masking = MaskingConfig(mask_prob=0.3, mask_prob_end=0.1)
    assert [masking_at(masking, p).mask_prob for p in (0, 0.25, 1)] == pytest.approx([0.3, 0.25, 0.1])
    objective = ObjectiveConfig(disc_weight=50, disc_weight_start=10, temperature=1.0, temperature_start=4.0)
    found = [objective_at(objective, p) for p in (0, 0.25, 0.5, 1)]
    assert [one.disc_weight for one in found] == pytest.approx([10, 20, 30, 50])
    assert [one.temperature for one in found] == pytest.approx([4, 4**0.75, 2, 1])


def test_objective_takes_the_weight_of_its_progress_in_training_only() -> None:
    rtd = build(gen_weight=0.0, disc_weight=50.0, disc_weight_start=10.0).train()

    def weight() -> float:
        rows, output = run(rtd, make_inputs())
        return float(output.loss.detach() / (output.disc_loss / rows.counts["disc_loss"]))

    assert weight() == pytest.approx(10)
    rtd.set_progress(0.5)
    assert weight() == pytest.approx(30)
    rtd.eval()
    assert weight() == pytest.approx(50)


def test_masker_takes_the_share_of_its_progress_in_training_only() -> None:
    rtd = build().train()
    rtd.masker.config = MaskingConfig(mask_prob=0.1, mask_prob_end=0.8)
    inputs, keys = make_inputs(num_rows=1, length=12), torch.arange(1)  # ten tokens that may be chosen
    assert rtd.prepare(inputs, keys).num_masked == 1
    rtd.set_progress(1.0)
    assert rtd.prepare(inputs, keys).num_masked == 8
    rtd.eval()
    assert rtd.prepare(inputs, keys).num_masked == 1
