"""Whatever optimizer, schedule, masking or sharing a run has: a killed and resumed one equals one that was not."""

from pathlib import Path
from typing import Any

import pytest
from support.runs import BODIES, assert_same_run, run, run_killed_at

OPTIONS: dict[str, dict[str, Any]] = {
    "muon": {"optimizer": {"kind": "muon"}},
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", OPTIONS)
def test_resumed_run_equals_one_that_was_not_interrupted(
    name: str, body: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"schedule": {"num_steps": 6}, "checkpoint": {"every_steps": 2}, **OPTIONS[name]}
    run(shards, tmp_path / "straight", body=body, **options)
    run_killed_at(5, shards, tmp_path / "killed", monkeypatch, body=body, **options)
    run(shards, tmp_path / "killed", body=body, resume=True, **options)
    assert_same_run(tmp_path / "killed", tmp_path / "straight")
