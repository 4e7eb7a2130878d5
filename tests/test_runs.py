import json
from pathlib import Path

import pytest

from electrify.runs import MetricsLog, describe_environment, finite_or_none, read_metrics


def write(folder: Path, steps: list[int], *, after_step: int = 0) -> None:
    with MetricsLog(folder, after_step=after_step, use_tensorboard=False) as log:
        for step in steps:
            log.write({"step": step, "kind": "train", "loss": step / 2})


def test_records_are_lines_of_json(tmp_path: Path) -> None:
    write(tmp_path, [1, 2])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "kind": "train", "loss": 0.5},
        {"step": 2, "kind": "train", "loss": 1.0},
    ]


def test_records_are_there_before_the_log_is_closed(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, use_tensorboard=False) as log:
        log.write({"step": 1, "kind": "train"})
        assert read_metrics(tmp_path) == [{"step": 1, "kind": "train"}]


def test_resumed_log_drops_records_of_later_steps(tmp_path: Path) -> None:
    write(tmp_path, [1, 2, 3, 4])
    write(tmp_path, [3], after_step=2)
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 3]


def test_log_of_a_run_that_starts_is_empty(tmp_path: Path) -> None:
    write(tmp_path, [1, 2])
    write(tmp_path, [])
    assert read_metrics(tmp_path) == []


def test_records_that_are_kept_keep_their_bytes(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, use_tensorboard=False) as log:
        log.write({"step": 1, "kind": "train", "loss": 0.1 + 0.2, "tiny": 1e-300})
    before = (tmp_path / "metrics.jsonl").read_bytes()
    write(tmp_path, [], after_step=1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_numbers_that_json_has_not_become_null(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, use_tensorboard=False) as log:
        log.write({"step": 1, "kind": "train", "loss": float("nan"), "timing": {"left": float("inf")}})
    assert read_metrics(tmp_path) == [{"step": 1, "kind": "train", "loss": None, "timing": {"left": None}}]


def test_finite_numbers_and_other_values_stay() -> None:
    values = {"a": 1.5, "b": 2, "c": "nan", "d": None, "e": [1.0], "f": {"g": -1e300}}
    assert finite_or_none(values) == values


def test_half_a_last_line_is_passed_over_and_gone_after_a_resume(tmp_path: Path) -> None:
    write(tmp_path, [1, 2])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "ki')
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2]
    write(tmp_path, [3], after_step=2)
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 3]


def test_run_without_a_log_has_no_records(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsLog(tmp_path) as log:
        log.write({"step": 4, "kind": "train", "loss": 0.25, "timing": {"seconds": 2.0}})
        log.write({"step": 8, "kind": "validation", "loss": 0.5})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["train/loss", "train/seconds", "validation/loss"]
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(4, 0.25)]


def test_environment_names_python_packages_and_machine() -> None:
    environment = describe_environment()
    assert {"python", "packages", "platform", "machine", "processors"} == environment.keys()
    assert environment["packages"]["torch"] != "unknown"
    json.dumps(environment)
