"""What happens to a run when something goes wrong around it or in it."""

import errno
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.processes import finish, start, wait_until
from support.runs import assert_same_run, figures, run, run_killed_at

from electrify.errors import CheckpointError, ConfigError, RunStopped, TrainingError
from electrify.pretraining.running import Pretraining
from electrify.pretraining.step import StepResult, TrainingStep
from electrify.training import checkpoints
from electrify.training.lock import RunLock

LONG: dict[str, Any] = {"schedule": {"num_steps": 100_000}, "checkpoint": {"every_steps": 1000}}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_the_step_and_says_how_to_go_on(
    number: signal.Signals, code: int, shards: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    process = start(shards, output, **LONG)
    wait_until(lambda: output.exists() and len(figures(output)) > 3 if (output / "metrics.jsonl").exists() else False)
    process.send_signal(number)
    said = finish(process)
    assert process.returncode == code
    (state,) = (output / "state").iterdir()
    step = int(state.name.removeprefix("step-"))
    assert f"stopped by {number.name} after step {step}, which is saved. Continue with --resume." in said
    assert step % 1000
    assert not (output / "lock").exists()


def test_run_that_was_stopped_and_resumed_equals_one_that_was_not(
    shards: Path, electra_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = TrainingStep.compute

    def signalled(step: TrainingStep, number: int, *, with_figures: bool = False) -> StepResult:
        if number == 6:
            signal.raise_signal(signal.SIGTERM)
        return compute(step, number, with_figures=with_figures)

    from electrify.errors import RunStopped

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "compute", signalled)
        with pytest.raises(RunStopped, match="after step 7"):
            run(shards, tmp_path / "run")
    run(shards, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", electra_run)


def with_damaged_gradients(monkeypatch: pytest.MonkeyPatch, *steps: int, times: float = float("nan")) -> None:
    """Multiply the gradients and losses of some steps, counted from 0."""
    compute = TrainingStep.compute

    def damaged(step: TrainingStep, number: int, *, with_figures: bool = False) -> StepResult:
        result = compute(step, number, with_figures=with_figures)
        if number not in steps:
            return result
        for parameter in step._objective.parameters():
            parameter.grad *= times
        sums = {name: value * times for name, value in result.sums.items()}
        return StepResult(sums, result.counts, result.num_tokens, result.grad_norm * times, result.figures)

    monkeypatch.setattr(TrainingStep, "compute", damaged)


@pytest.mark.parametrize("way", ["skip", "rollback"])
def test_bad_step_is_left_out_counted_and_repeated_by_a_resume(
    way: str, shards: Path, electra_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_damaged_gradients(monkeypatch, 6)
    options: dict[str, Any] = {"training": {"on_bad_step": way}}
    run(shards, tmp_path / "straight", **options)
    run_killed_at(8, shards, tmp_path / "killed", monkeypatch, **options)
    run(shards, tmp_path / "killed", resume=True, **options)
    assert_same_run(tmp_path / "killed", tmp_path / "straight")
    records = figures(tmp_path / "straight")
    bad = [record for record in records if record["kind"] == "bad_step"]
    assert [(one["step"], one["first_skipped"]) for one in bad] == [(7, 7 if way == "skip" else 6)]
    assert "is nan" in bad[0]["reason"]
    last = [record for record in records if record["kind"] == "train"][-1]
    assert (last["bad_steps"], last["skipped_steps"]) == (1, 1 if way == "skip" else 2)
    assert last["disc_loss"] != [one for one in figures(electra_run) if one["kind"] == "train"][-1]["disc_loss"]
    for path in (tmp_path / "straight").rglob("*.safetensors"):
        assert all(torch.isfinite(tensor).all() for tensor in load_file(path).values()), path


def run_stopped_at(step: int, shards: Path, output: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Train until a signal comes in a step, which is saved."""
    take_step = Pretraining._take_step

    def stopped(self: Pretraining, factor: float) -> None:
        take_step(self, factor)
        if self.session.clock.step + 1 == step:
            self.signal_number = signal.SIGTERM

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "_take_step", stopped)
        with pytest.raises(RunStopped):
            run(shards, output, **options)


def test_a_run_that_a_signal_stopped_goes_back_as_far_as_one_that_went_on(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal's own state is newer, but another run has none there."""
    with_damaged_gradients(monkeypatch, 8, 9)
    options: dict[str, Any] = {"training": {"on_bad_step": "rollback"}}
    options["checkpoint"] = {"every_steps": 6, "keep_last": 1}
    run(shards, tmp_path / "straight", **options)
    run_stopped_at(7, shards, tmp_path / "stopped", monkeypatch, **options)
    run_stopped_at(8, shards, tmp_path / "stopped", monkeypatch, resume=True, **options)
    run(shards, tmp_path / "stopped", resume=True, **options)
    assert_same_run(tmp_path / "stopped", tmp_path / "straight")
    bad = [one for one in figures(tmp_path / "stopped") if one["kind"] == "bad_step"]
    assert [(one["step"], one["first_skipped"]) for one in bad] == [(9, 7), (10, 7)]
    last = [one for one in figures(tmp_path / "stopped") if one["kind"] == "train"][-1]
    assert (last["bad_steps"], last["skipped_steps"]) == (2, 4)


def test_a_line_whose_last_good_step_was_before_the_stop_has_its_norm(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_damaged_gradients(monkeypatch, 7)
    options = {"logging": {"every_steps": 4, "tensorboard": False}}
    run(shards, tmp_path / "straight", **options)
    run_stopped_at(7, shards, tmp_path / "stopped", monkeypatch, **options)
    run(shards, tmp_path / "stopped", resume=True, **options)
    assert_same_run(tmp_path / "stopped", tmp_path / "straight")
    line = next(one for one in figures(tmp_path / "stopped") if one["kind"] == "train" and one["step"] == 8)
    assert line["grad_norm"] > 0


@pytest.mark.parametrize("steps", [(0, 1), (2, 3)])
def test_line_whose_steps_were_all_bad_has_no_losses(
    steps: tuple[int, int], shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_damaged_gradients(monkeypatch, *steps)
    run(shards, tmp_path / "run")
    lines = {one["step"]: one for one in figures(tmp_path / "run") if one["kind"] == "train"}
    empty = lines.pop(steps[1] + 1)
    assert (empty["bad_steps"], empty["tokens"] > 0) == (2, True)
    assert not {"disc_loss", "gen_accuracy", "grad_norm"} & empty.keys()
    assert all({"disc_loss", "gen_accuracy", "grad_norm"} <= line.keys() for line in lines.values())


def test_bad_step_ends_a_run_that_puts_up_with_none(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_damaged_gradients(monkeypatch, 6)
    with pytest.raises(TrainingError, match=r"step 7: .*is nan"):
        run(shards, tmp_path / "run", training={"on_bad_step": "stop"})


def test_too_many_bad_steps_end_a_run(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_damaged_gradients(monkeypatch, 2, 3, 5)
    with pytest.raises(TrainingError, match=r"step 6: .*bad step number 3 .*training\.max_bad_steps"):
        run(shards, tmp_path / "run", training={"max_bad_steps": 2})


def full_disk_at(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make the tensors of some states not fit on the disk."""
    save_file = checkpoints.save_file

    def failing(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if path.parent.name.removesuffix(".tmp") in names:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", failing)


def test_state_that_can_not_be_saved_stops_the_run_and_leaves_the_one_before(
    shards: Path, electra_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"checkpoint": {"every_steps": 4}}
    with monkeypatch.context() as patch:
        full_disk_at(patch, "step-00000008")
        with pytest.raises(CheckpointError, match=r"step 8 can not be saved .*No space left.*step-00000004 is intact"):
            run(shards, tmp_path / "run", **options)
    assert [path.name for path in (tmp_path / "run" / "state").iterdir()] == ["step-00000004"]
    run(shards, tmp_path / "run", resume=True, **options)
    assert_same_run(tmp_path / "run", electra_run)


def test_state_that_can_not_be_saved_is_passed_over_if_asked_for(
    shards: Path, electra_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full_disk_at(monkeypatch, "step-00000008")
    run(shards, tmp_path / "run", checkpoint={"every_steps": 4, "on_save_error": "continue"})
    assert "step 8 can not be saved" in caplog.text
    assert_same_run(tmp_path / "run", electra_run)
    assert sorted(path.name for path in (tmp_path / "run" / "state").iterdir()) == ["step-00000004", "step-00000010"]


def test_second_run_in_a_folder_is_refused_and_told_who_is_there(
    shards: Path, electra_run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with (
        RunLock(output),
        pytest.raises(ConfigError, match=r"in use by process \d+ on .* since .*choose another --output"),
    ):
        run(shards, output, resume=True)
    run(shards, output, resume=True)
    assert_same_run(output, electra_run)


def test_state_of_another_run_is_not_continued_from(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_killed_at(6, shards, tmp_path / "mine", monkeypatch)
    run(shards, tmp_path / "other", optimizer={"learning_rate": 0.1})
    state = tmp_path / "mine" / "state" / "step-00000005"
    state.rename(tmp_path / "away")
    (tmp_path / "other" / "state" / "step-00000005").rename(state)
    with pytest.raises(CheckpointError, match=r"state\.json: is the state of another run"):
        run(shards, tmp_path / "mine", resume=True)
    assert json.loads((state / "state.json").read_text())["step"] == 5
