"""Several processes train what one would, and stop, or begin again, together."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.processes import finish, start, wait_until, worker
from support.runs import assert_close_runs, assert_same_run, figures, run

DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1}
EVERY_STEP = {"logging": {"every_steps": 1, "tensorboard": False}, "model": DROPOUT}


@pytest.fixture(scope="module")
def alone(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    run(shards, folder, **EVERY_STEP)
    return folder


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_what_one_does(kind: str, shards: Path, alone: Path, tmp_path: Path) -> None:
    process = start(shards, tmp_path / "run", processes=2, **EVERY_STEP, training={"parallel": kind})
    said = finish(process)
    assert process.returncode == 0, said
    assert said.count("Trained 10 steps") == 1  # the first process alone talks
    assert_close_runs(tmp_path / "run", alone)
    names = {path.name for path in (tmp_path / "run" / "state" / "step-00000010").iterdir()}
    assert any(name.startswith("shard-00002") for name in names) == (kind == "fsdp")


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_what_one_does_with_averages_gdes_and_a_growing_batch(
    kind: str, shards: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "logging": {"every_steps": 1, "tensorboard": False},
        "model": {"embedding_sharing": "gdes", "generator_hidden_ratio": 1.0},
        "optimizer": {"ema_decay": 0.9, "weight_decay_form": "l2"},
        "masking": {"unit": "word", "mask_prob_end": 0.4},
    }
    growing = {"batch_size_start": 3, "batch_warmup_steps": 4}
    run(shards, tmp_path / "alone", **options, training=growing)
    process = start(shards, tmp_path / "run", processes=2, **options, training={**growing, "parallel": kind})
    said = finish(process)
    assert process.returncode == 0, said
    assert_close_runs(tmp_path / "run", tmp_path / "alone")


def test_two_processes_train_what_one_does_with_hard_tokens_short_rows_and_no_schedule(
    shards: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "logging": {"every_steps": 1, "tensorboard": False},
        "masking": {"adaptive": 1.0},
        "objective": {"z_loss": 0.01},
        "optimizer": {"kind": "schedule-free"},
        "schedule": {"kind": "constant", "length_start": 8, "length_warmup_steps": 5},
    }
    run(shards, tmp_path / "alone", **options)
    process = start(shards, tmp_path / "run", processes=2, **options)
    said = finish(process)
    assert process.returncode == 0, said
    assert_close_runs(tmp_path / "run", tmp_path / "alone")


def test_muon_takes_shards_and_is_continued_by_one_process(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**EVERY_STEP, "optimizer": {"kind": "muon"}}
    run(shards, tmp_path / "alone", **options)
    output = tmp_path / "run"
    process = start(shards, output, processes=2, **options, training={"parallel": "fsdp"})
    said = finish(process)
    assert process.returncode == 0, said
    first = figures(output)
    for mine, theirs in zip(first, figures(tmp_path / "alone"), strict=True):
        # The products are in bfloat16: a gradient that differs in its last bit may differ in the eighth afterwards.
        assert mine["gen_loss"] == pytest.approx(theirs["gen_loss"], rel=1e-3)
    for path in (output / "state" / "step-00000010").iterdir():
        path.write_bytes(b"")  # so it falls back to step 5
    run(shards, output, resume=True, **options, training={"parallel": "auto"})
    for mine, before in zip(figures(output), first, strict=True):
        assert mine["gen_loss"] == pytest.approx(before["gen_loss"], rel=1e-3)


def test_shards_of_two_processes_are_continued_by_one(shards: Path, alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    process = start(shards, output, processes=2, **EVERY_STEP, training={"parallel": "fsdp"})
    assert finish(process) is not None
    for path in (output / "state" / "step-00000010").iterdir():
        path.write_bytes(b"")  # so it falls back to step 5
    run(shards, output, resume=True, **EVERY_STEP, training={"parallel": "auto"})
    assert_close_runs(output, alone)


def test_worker_that_is_killed_is_started_again_and_nothing_differs(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**EVERY_STEP, "schedule": {"num_steps": 60}, "checkpoint": {"every_steps": 2}}
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    first = start(shards, undisturbed, processes=2, **options)
    assert finish(first) is not None
    launcher = start(shards, killed, processes=2, restarts=1, **options)
    wait_until(lambda: list((killed / "state").glob("step-0000000[4-9]")))
    os.kill(worker(launcher, 1), signal.SIGKILL)
    said = finish(launcher)
    assert launcher.returncode == 0, said
    assert "Continuing from step" in said
    assert_same_run(killed, undisturbed)


def test_worker_that_hangs_is_named_and_ends_the_run(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"schedule": {"num_steps": 100_000}, "checkpoint": {"every_steps": 5}}
    launcher = start(shards, tmp_path / "run", processes=2, **options, training={"timeout_minutes": 0.1})
    wait_until(lambda: list((tmp_path / "run" / "state").glob("step-*5")))
    hung = worker(launcher, 1)
    os.kill(hung, signal.SIGSTOP)
    said = ""
    try:
        wait_until(lambda: not Path(f"/proc/{worker(launcher, 0)}").exists() or True, seconds=1)
        said = finish(launcher, seconds=60)
    finally:
        if Path(f"/proc/{hung}").exists():
            os.kill(hung, signal.SIGKILL)
    assert launcher.returncode != 0
    lines = [line for line in said.splitlines() if line.startswith("electrify:")]
    assert len(lines) == 1, said
    assert f"no answer from process 1 ({os.uname().nodename}, pid {hung}; last heard of at step" in lines[0]


def test_wrong_setting_is_said_once(shards: Path, tmp_path: Path) -> None:
    process = start(shards, tmp_path / "run", processes=2, training={"batch_size": 1})
    said = finish(process)
    lines = [line for line in said.splitlines() if line.startswith("electrify:")]
    assert lines == [
        "electrify: 2 processes, but the rows of a step (training.batch_size) are 1 and 16 held-out rows are used "
        "(evaluation.num_rows): each process needs a row of both."
    ]
    assert not (tmp_path / "run").exists()


def test_processes_that_cannot_start_do_not_destroy_the_run_they_would_replace(shards: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    output.mkdir()
    (output / "results.json").write_text("{}")
    options: dict[str, Any] = {"optimizer": {"kind": "lion"}, "training": {"parallel": "fsdp"}}
    said = finish(start(shards, output, "--overwrite", processes=2, **options))
    assert 'optimizer.kind = "lion" needs whole tensors' in said
    assert (output / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_four_processes_resume_bit_for_bit_and_train_what_one_does(
    kind: str, shards: Path, alone: Path, tmp_path: Path
) -> None:
    output, again = tmp_path / "run", tmp_path / "again"
    options: dict[str, Any] = {**EVERY_STEP, "training": {"parallel": kind, "micro_batch_size": 1}}
    for folder in (output, again):
        finish(start(shards, folder, processes=4, **options))
    assert_close_runs(output, alone)
    for path in (again / "state" / "step-00000010").iterdir():
        path.write_bytes(b"")
    finish(start(shards, again, "--resume", processes=4, **options))
    assert_same_run(again, output)
    assert json.loads((again / "environment.json").read_text())["processes"] == 4
