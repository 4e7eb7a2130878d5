"""A finished run goes on: without a seam where the learning rate was still at its peak, else with a second warm-up."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import BODIES, Killed, assert_same_run, figures, run, run_killed_at, settings, tensors

from electrify import recipes
from electrify.cli import main
from electrify.config import ScheduleConfig
from electrify.errors import CheckpointError, ConfigError
from electrify.pretraining.extending import factor_of_step, leaves_stable_phase
from electrify.training.loop import Clock
from electrify.verbs.pretrain import pretrain

STABLE = {"kind": "warmup_stable_decay", "num_steps": 16, "warmup_share": 0.125, "decay_share": 0.25}
LONGER = {**STABLE, "num_steps": 32, "warmup_share": 0.0625}
OFTEN = {"checkpoint": {"every_steps": 7}, "model": {"dropout": 0.1}}


def extend(folder: Path, num_steps: int) -> Any:
    return pretrain(folder / "config.toml", output=folder, extend=num_steps)


@pytest.fixture(scope="module")
def finished(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a stable phase; not to be changed."""
    folder = tmp_path_factory.mktemp("extending") / "stable"
    run(shards, folder, schedule=STABLE, **OFTEN)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("body", BODIES)
def test_from_the_stable_phase_it_becomes_the_longer_run_bit_for_bit(body, shards, tmp_path):
    run(shards, tmp_path / "extended", body=body, schedule=STABLE, **OFTEN)
    report = extend(tmp_path / "extended", 16)
    run(shards, tmp_path / "straight", body=body, schedule=LONGER, **OFTEN)
    assert report.steps == 32
    assert_same_run(tmp_path / "extended", tmp_path / "straight")
    assert recipes.load_recipe(tmp_path / "extended/config.toml") == recipes.load_recipe(
        tmp_path / "straight/config.toml"
    )


MOVING = [
    ("masking", {"mask_prob_end": 0.4}),
    ("objective", {"disc_weight_start": 1.0}),
    ("objective", {"temperature_start": 2.0}),
]


@pytest.mark.parametrize(("section", "values"), MOVING)
def test_it_is_said_where_something_else_moves_over_the_run(section, values, shards, tmp_path, caplog):
    folder = tmp_path / "run"
    run(shards, folder, schedule={**STABLE, "num_steps": 8, "warmup_share": 0.25}, **{section: values})
    extend(folder, 8)
    (line,) = [one.message for one in caplog.records if "not, bit for bit, that of one longer run" in one.message]
    assert line.startswith(f"{section}.{next(iter(values))} moved")


@pytest.mark.parametrize(("section", "values"), MOVING)
def test_it_is_said_where_something_else_begins_again(section, values, shards, tmp_path, caplog):
    folder = tmp_path / "run"
    run(shards, folder, schedule={"kind": "linear", "num_steps": 4}, **{section: values})
    extend(folder, 4)
    (line,) = [one.message for one in caplog.records if "begins again with the new steps" in one.message]
    assert line.startswith(f"{section}.{next(iter(values))} moved")


CONSTANT = {"kind": "constant", "num_steps": 10, "warmup_share": 0.4}


def test_a_constant_learning_rate_stays_as_it_is(shards, tmp_path, caplog):
    """It becomes the longer run bit for bit; 10 is a step at which lines are written anyway."""
    folder = tmp_path / "run"
    run(shards, folder, schedule=CONSTANT, **OFTEN)
    extend(folder, 10)
    run(shards, tmp_path / "straight", schedule={**CONSTANT, "num_steps": 20, "warmup_share": 0.2}, **OFTEN)
    assert_same_run(folder, tmp_path / "straight")
    assert {line["learning_rate"] for line in figures(folder) if line["kind"] == "train" and line["step"] > 4} == {2e-3}
    assert (folder / "config.toml").read_text() == (tmp_path / "straight/config.toml").read_text()
    assert "begins again" not in caplog.text


def test_it_is_said_where_something_else_moves_beside_a_constant_rate(shards, tmp_path, caplog):
    run(shards, tmp_path / "run", schedule=CONSTANT, masking={"mask_prob_end": 0.4})
    extend(tmp_path / "run", 10)
    assert "masking.mask_prob_end moved as in the shorter run until here" in caplog.text


@pytest.mark.parametrize("step", [12, 19])
def test_killed_while_extended_at_a_constant_rate_it_is_resumed_bit_for_bit(step, shards, tmp_path, monkeypatch):
    run(shards, tmp_path / "run", schedule=CONSTANT, **OFTEN)
    with monkeypatch.context() as patch:
        patch.setattr("support.runs.run", lambda shards, output, **sections: extend(output, 10))
        run_killed_at(step, shards, tmp_path / "run", monkeypatch)
    pretrain(tmp_path / "run/config.toml", output=tmp_path / "run", resume=True)
    run(shards, tmp_path / "straight", schedule={**CONSTANT, "num_steps": 20, "warmup_share": 0.2}, **OFTEN)
    assert_same_run(tmp_path / "run", tmp_path / "straight")


def test_nothing_is_said_where_only_the_learning_rate_moves(copy, caplog):
    extend(copy, 16)
    assert "bit for bit" not in caplog.text


def test_the_first_command_does_not_fit_an_extended_run_and_overwrite_does_not_fit_extend(copy, tmp_path):
    (tmp_path / "first.toml").write_text((copy / "config.toml").read_text())
    extend(copy, 4)
    with pytest.raises(ConfigError, match=r"finished at step 20, not 16\. Give .*config\.toml as RECIPE"):
        pretrain(tmp_path / "first.toml", output=copy, extend=4)
    with pytest.raises(ConfigError, match="give one of them"):
        pretrain(copy / "config.toml", output=copy, extend=4, overwrite=True)


def test_it_can_be_extended_again(copy, shards, tmp_path):
    extend(copy, 16)
    extend(copy, 32)
    run(shards, tmp_path / "straight", schedule={**LONGER, "num_steps": 64, "warmup_share": 0.03125}, **OFTEN)
    assert_same_run(copy, tmp_path / "straight")


def kill_at(step: int, folder: Path, monkeypatch: Any, shards: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("support.runs.run", lambda shards, output, **sections: extend(output, 16))
        run_killed_at(step, shards, folder, monkeypatch)


@pytest.mark.parametrize("step", [13, 15, 20, 27, 31])
def test_killed_while_extended_it_is_resumed_bit_for_bit(step, copy, shards, tmp_path, monkeypatch):
    kill_at(step, copy, monkeypatch, shards)
    with pytest.raises(ConfigError, match="continue it with --resume first"):
        extend(copy, 16)
    pretrain(copy / "config.toml", output=copy, resume=True)
    run(shards, tmp_path / "straight", schedule=LONGER, **OFTEN)
    assert_same_run(copy, tmp_path / "straight")


def test_killed_before_the_new_config_is_written_it_is_finished_as_before(copy, finished, monkeypatch):
    def dying(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("electrify.pretraining.extending.write_text", dying)
        with pytest.raises(Killed):
            extend(copy, 16)
    pretrain(copy / "config.toml", output=copy, resume=True)
    assert_same_run(copy, finished)


@pytest.mark.parametrize("step", [3, 12, 13, 15])
def test_the_state_before_the_fall_is_the_same_in_a_run_that_was_killed(step, finished, shards, tmp_path, monkeypatch):
    output = tmp_path / "run"
    run_killed_at(step, shards, output, monkeypatch, schedule=STABLE, **OFTEN)
    run(shards, output, schedule=STABLE, **OFTEN, resume=True)
    assert [path.name for path in (output / "stable").iterdir()] == ["step-00000013"]
    for name in ("networks.safetensors", "optimizer.safetensors"):
        place = f"stable/step-00000013/{name}"
        assert (output / place).read_bytes() == (finished / place).read_bytes()


def test_the_old_networks_are_there_until_the_new_ones_are(copy, shards, monkeypatch):
    before = tensors(copy)
    kill_at(20, copy, monkeypatch, shards)
    after = tensors(copy)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("kind", ["linear", "linear_times_warmup", "cosine"])
def test_with_another_schedule_it_is_warmed_up_a_second_time(kind, shards, tmp_path, caplog):
    sections = {"logging": {"every_steps": 1}, "schedule": {"kind": kind, "num_steps": 10, "warmup_share": 0.4}}
    folder = tmp_path / "run"
    run(shards, folder, **sections)
    before = figures(folder)
    caplog.set_level(logging.INFO)
    assert extend(folder, 10).steps == 20
    assert "second warm-up" in caplog.text
    assert figures(folder)[: len(before)] == before
    rates = [line["learning_rate"] for line in figures(folder) if line["kind"] == "train"]
    assert rates[10:] == rates[:10]
    tokens = [line["tokens"] for line in figures(folder) if line["kind"] == "train"]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 20


def test_rows_go_on_where_the_run_ended(shards, tmp_path):
    """An extended run sees the rows, masks and samples of the steps it takes, not those of the first ones again."""
    sections = {"logging": {"every_steps": 1}, "optimizer": {"learning_rate": 1e-12}}
    run(shards, tmp_path / "run", schedule={"num_steps": 4}, **sections)
    extend(tmp_path / "run", 4)
    run(shards, tmp_path / "straight", schedule={"num_steps": 8}, **sections)
    mine, theirs = (
        [line["gen_loss"] for line in figures(tmp_path / name) if line["kind"] == "train"]
        for name in ("run", "straight")
    )
    assert mine == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("step", [12, 16, 19])
def test_killed_in_the_second_warm_up_it_is_resumed_bit_for_bit(step, shards, tmp_path, monkeypatch):
    sections = {"schedule": {"num_steps": 10, "warmup_share": 0.2}, "checkpoint": {"every_steps": 3}}
    run(shards, tmp_path / "one", **sections)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    extend(tmp_path / "one", 10)
    with monkeypatch.context() as patch:
        patch.setattr("support.runs.run", lambda shards, output, **sections: extend(output, 10))
        run_killed_at(step, shards, tmp_path / "two", monkeypatch)
    pretrain(tmp_path / "two/config.toml", output=tmp_path / "two", resume=True)
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_a_run_with_a_time_budget_is_extended_by_steps(shards, tmp_path):
    folder = tmp_path / "run"
    report = run(shards, folder, schedule={**STABLE, "num_steps": 100_000, "budget_minutes": 0.02})
    assert (folder / "stable").is_dir()
    assert extend(folder, 5).steps == report.steps + 5
    assert recipes.load_recipe(folder / "config.toml").schedule.budget_minutes is None


@pytest.mark.parametrize("step", [13, 15])
def test_killed_in_a_fall_that_follows_the_clock_it_keeps_the_state_before_it(step, shards, tmp_path, monkeypatch):
    """By its steps alone the run would still be in its stable phase."""
    monkeypatch.setattr(Clock, "seconds", property(lambda clock: float(clock.step)))  # a second a step
    schedule = {**STABLE, "num_steps": 24, "budget_minutes": 16 / 60}
    sections = {"schedule": schedule, "checkpoint": {"every_steps": 1}}
    run_killed_at(step, shards, tmp_path / "run", monkeypatch, **sections)
    kept = {path: path.read_bytes() for path in (tmp_path / "run/stable").rglob("*") if path.is_file()}
    run(shards, tmp_path / "run", resume=True, **sections)
    assert {path: path.read_bytes() for path in (tmp_path / "run/stable").rglob("*") if path.is_file()} == kept
    run(shards, tmp_path / "straight", **sections)
    assert [path.name for path in (tmp_path / "straight/stable").iterdir()] == ["step-00000013"]
    assert_same_run(tmp_path / "run", tmp_path / "straight")


def test_without_a_kept_state_a_stable_run_is_warmed_up_again(copy, caplog):
    shutil.rmtree(copy / "stable")
    caplog.set_level(logging.INFO)
    assert extend(copy, 4).steps == 20
    assert "second warm-up" in caplog.text


def test_a_damaged_kept_state_is_an_error_and_changes_nothing(copy, finished):
    path = next((copy / "stable").rglob("networks.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"networks\.safetensors"):
        extend(copy, 16)
    assert (copy / "config.toml").read_text() == (finished / "config.toml").read_text()
    assert (copy / "state/step-00000016").is_dir()


def test_what_is_no_finished_run_is_refused(shards, tmp_path, monkeypatch):
    run_killed_at(6, shards, tmp_path / "killed", monkeypatch)
    with pytest.raises(ConfigError, match=r"no results\.json.*--resume first"):
        extend(tmp_path / "killed", 5)
    with pytest.raises(ConfigError, match=r"no results\.json"):
        pretrain("tiny", output=tmp_path / "none", overrides=settings(shards), extend=5)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("num_steps", [0, -3])
def test_nothing_to_do_is_refused(num_steps, copy):
    with pytest.raises(ConfigError, match=f"at least 1 step, got {num_steps}"):
        extend(copy, num_steps)


def test_other_settings_than_the_runs_are_refused(copy):
    with pytest.raises(ConfigError, match=r"started with optimizer\.learning_rate"):
        pretrain(copy / "config.toml", output=copy, overrides={"optimizer": {"learning_rate": 0.5}}, extend=5)


def test_the_command_has_the_option(copy, capsys):
    with pytest.raises(SystemExit) as end:
        main(["pretrain", str(copy / "config.toml"), "--output", str(copy), "--extend", "4", "--json"])
    assert not end.value.code
    assert json.loads(capsys.readouterr().out)["steps"] == 20


def test_the_moment_before_the_fall():
    schedule = ScheduleConfig.model_validate(STABLE)
    factors = [factor_of_step(schedule, step) for step in range(16)]
    assert factors[12] == 1
    assert factors[13] < 1
    leaving = [step for step in range(1, 16) if leaves_stable_phase(schedule, factors[step - 1], factors[step])]
    assert leaving == [13]
    linear = ScheduleConfig(num_steps=16, warmup_share=0)
    assert not leaves_stable_phase(linear, 1.0, 0.9)


def test_a_schedule_that_begins_later_counts_from_there():
    clock = Clock(ScheduleConfig(num_steps=30, start_step=10), step=10)
    assert clock.progress == 0
    clock.step = 20
    assert clock.progress == 0.5
