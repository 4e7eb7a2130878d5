"""No two purposes share a random number: in no run is one key made in two places of the code."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.corpora import write_shards
from support.runs import run
from torch import Tensor

from electrify import noise
from electrify.config import MaskingConfig
from electrify.noise import row_keys, uniform
from electrify.objectives.masking import mask
from electrify.pretraining.objectives import OBJECTIVES

SPECIAL = torch.tensor([0, 1, 2, 3, 4])
MASK = 4


class Origins:
    """Stands for `fold`, and notes in which lines each key was made."""

    def __init__(self) -> None:
        self.lines: dict[int, set[str]] = {}

    def fold(self, keys: Tensor, values: Tensor | int) -> Tensor:
        made = noise_fold(keys, values)
        code = sys._getframe(1)
        line = f"{Path(code.f_code.co_filename).name}:{code.f_lineno}"
        for key in made.flatten().tolist():
            self.lines.setdefault(key, set()).add(line)
        return made


noise_fold = noise.fold


@pytest.fixture
def origins(monkeypatch: pytest.MonkeyPatch) -> Origins:
    found = Origins()
    for module in [one for name, one in sys.modules.items() if name.startswith("electrify.")]:
        if getattr(module, "fold", None) is noise_fold:
            monkeypatch.setattr(module, "fold", found.fold)
    return found


def assert_apart(origins: Origins) -> None:
    assert len(origins.lines) > 50
    shared = {tuple(sorted(lines)) for lines in origins.lines.values() if len(lines) > 1}
    assert not shared


SMALL: dict[str, Any] = {
    "model": {"dropout": 0.1, "attention_dropout": 0.1},
    "schedule": {"num_steps": 2},
    "training": {"kernels": "plain", "batch_size": 2},  # the compiled kernels make the same keys unseen
    "evaluation": {"num_rows": 2},
}


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_purpose_of_an_objective_has_keys_of_its_own(
    kind: str, shards: Path, tmp_path: Path, origins: Origins
) -> None:
    masking = {"mask_prob": 0.4, "mask_token_prob": 0.8, "random_token_prob": 0.1}
    run(shards, tmp_path / "run", **SMALL, objective={"kind": kind}, masking=masking)
    assert_apart(origins)


MASKINGS: dict[str, dict[str, Any]] = {
    "with replacement": {"draw": "with_replacement"},
    "words": {"unit": "word"},
    "spans": {"unit": "span"},
}


@pytest.mark.parametrize("way", MASKINGS)
def test_every_way_of_masking_has_keys_of_its_own(way: str, shards: Path, tmp_path: Path, origins: Origins) -> None:
    run(shards, tmp_path / "run", **SMALL, masking={"mask_prob": 0.4, **MASKINGS[way]})
    assert_apart(origins)


def test_pieces_of_cut_rows_have_keys_of_their_own(tmp_path: Path, origins: Origins) -> None:
    shards = write_shards(tmp_path, pack="pieces")
    sections = {**SMALL, "schedule": {"num_steps": 2, "length_start": 8, "length_warmup_steps": 2}}
    run(shards, tmp_path / "run", **sections)
    assert_apart(origins)


def test_what_a_chosen_position_draws_does_not_depend_on_which_are_chosen() -> None:
    num_rows, length = 20_000, 64
    ids = torch.full((num_rows, length), 500)
    ids[:, 0], ids[:, -1] = 2, 3
    masking = mask(
        ids,
        torch.full((num_rows,), length),
        row_keys(7, 3, torch.arange(num_rows)),
        special_ids=SPECIAL,
        mask_id=MASK,
        vocab_size=1000,
        config=MaskingConfig(),
    )
    columns = masking.positions.view(num_rows, -1) % length
    drawn = uniform(masking.sample_keys).view(num_rows, -1)
    shown = (masking.masked_ids.flatten()[masking.positions] == MASK).view(num_rows, -1).double()
    for column in range(1, 10):
        is_chosen = (columns == column).any(1)
        count = int(is_chosen.sum())
        for slot in range(columns.shape[1]):
            assert abs(float(drawn[is_chosen, slot].mean()) - 0.5) < 4.5 * (1 / 12 / count) ** 0.5, (column, slot)
            assert abs(float(shown[is_chosen, slot].mean()) - 0.85) < 4.5 * (0.85 * 0.15 / count) ** 0.5, (column, slot)
