"""A run does what its config says, survives its own death, and repeats itself bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.corpora import write_one_word_shards, write_shards
from support.runs import BODIES, assert_same_run, figures, run, run_killed_at, settings, tensors

from electrify.data.loader import RowOrder
from electrify.data.shards import open_shards
from electrify.errors import CheckpointError, ConfigError, DataError, TrainingError
from electrify.recipes import load_recipe
from electrify.verbs.pretrain import pretrain

WITH_DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1}


@pytest.fixture(scope="module")
def straight(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with dropout of each body that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    for body in BODIES:
        run(shards, folder / body, body=body, model=WITH_DROPOUT)
    return {body: folder / body for body in BODIES}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("step", [3, 5, 8])  # before the first state, at a state, after it within a line of metrics
def test_killed_and_resumed_run_equals_one_that_was_not(
    body: str, step: int, shards: Path, straight: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    run_killed_at(step, shards, output, monkeypatch, body=body, model=WITH_DROPOUT)
    run(shards, output, body=body, model=WITH_DROPOUT, resume=True)
    assert_same_run(output, straight[body])


def test_killed_process_is_resumed_from_the_command_line(shards: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "electrify", "pretrain", "--json"]
    options = {"schedule": {"num_steps": 40}, "checkpoint": {"every_steps": 1}, "evaluation": {"every_steps": 3}}
    overrides = settings(shards, model=WITH_DROPOUT, **options)
    words = [
        f"--{section}.{key}={str(value).lower() if isinstance(value, bool) else value}"
        for section, values in overrides.items()
        for key, value in values.items()
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [*command, "tiny", f"--output={killed}", *words], env=environment, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not list((killed / "state").glob("step-0000000[3-9]")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    run(shards, killed, model=WITH_DROPOUT, resume=True, **options)
    run(shards, tmp_path / "straight", model=WITH_DROPOUT, **options)
    assert_same_run(killed, tmp_path / "straight")


def test_resume_of_a_finished_run_changes_nothing(shards: Path, straight: dict[str, Path]) -> None:
    folder = straight["electra"]
    before = (figures(folder), tensors(folder), json.loads((folder / "results.json").read_text()))
    report = run(shards, folder, model=WITH_DROPOUT, resume=True)
    after = (figures(folder), tensors(folder), json.loads((folder / "results.json").read_text()))
    assert before[0] == after[0]
    assert all(torch.equal(after[1][name], tensor) for name, tensor in before[1].items())
    assert report.steps == 10
    for name in ("tokens", "validation", "warning"):
        assert before[2][name] == after[2][name]


def test_resume_of_a_run_that_never_began_starts_it(shards: Path, electra_run: Path, tmp_path: Path) -> None:
    run(shards, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", electra_run)


@pytest.mark.parametrize("body", BODIES)
def test_config_in_the_run_folder_repeats_the_run(
    body: str, electra_run: Path, modernbert_run: Path, tmp_path: Path
) -> None:
    first = electra_run if body == "electra" else modernbert_run
    pretrain(first / "config.toml", output=tmp_path / "again")
    assert_same_run(tmp_path / "again", first)


def test_dropout_changes_what_is_trained(electra_run: Path, straight: dict[str, Path]) -> None:
    without, with_dropout = figures(electra_run)[0], figures(straight["electra"])[0]
    assert without["gen_loss"] != with_dropout["gen_loss"]
    assert without["disc_loss"] != with_dropout["disc_loss"]


def test_another_seed_is_another_run(shards: Path, electra_run: Path, tmp_path: Path) -> None:
    overrides: dict[str, Any] = {**settings(shards), "seed": 1}
    pretrain("tiny", output=tmp_path / "run", overrides=overrides)
    assert figures(tmp_path / "run")[0]["gen_loss"] != figures(electra_run)[0]["gen_loss"]


def test_damaged_newest_state_falls_back_and_ends_the_same(
    shards: Path, straight: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    every_two = {"checkpoint": {"every_steps": 2}, "model": WITH_DROPOUT}
    run_killed_at(7, shards, output, monkeypatch, **every_two)
    damaged = output / "state" / "step-00000006" / "networks.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    run(shards, output, resume=True, **every_two)
    assert_same_run(output, straight["electra"])


def test_run_with_only_damaged_states_says_so(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "run"
    run_killed_at(6, shards, output, monkeypatch)
    (output / "state" / "step-00000005" / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors"):
        run(shards, output, resume=True)


def test_resume_with_other_settings_names_them(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "run"
    run_killed_at(6, shards, output, monkeypatch)
    with pytest.raises(ConfigError, match=r"started with optimizer\.learning_rate = 0\.002, now it is 0\.5\."):
        run(shards, output, resume=True, optimizer={"learning_rate": 0.5})
    with pytest.raises(ConfigError, match=r"started with seed = 0, now it is 1\."):
        pretrain("tiny", output=output, overrides={**settings(shards), "seed": 1}, resume=True)


def test_resume_on_other_data_is_refused(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "run"
    run_killed_at(6, shards, output, monkeypatch)
    other = write_shards(tmp_path / "other", seed=5)
    with pytest.raises(ConfigError, match=r"not the data that the run in .* was started on.*--data\.path"):
        run(other, output, resume=True)


def test_resume_on_the_same_data_elsewhere_is_allowed(
    shards: Path, electra_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    run_killed_at(6, shards, output, monkeypatch)
    (tmp_path / "moved").symlink_to(shards)
    run(tmp_path / "moved", output, resume=True)
    assert_same_run(output, electra_run)


@pytest.mark.parametrize("pack", ["dense", "pieces"])  # pieces: rows of unlike lengths
@pytest.mark.parametrize("body", BODIES)
def test_micro_batches_add_up_to_the_batch(body: str, pack: str, tmp_path: Path) -> None:
    shards = write_shards(tmp_path, pack=pack)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(shards, whole, body=body, model=WITH_DROPOUT)
    run(shards, parts, body=body, model=WITH_DROPOUT, training={"micro_batch_size": 3})
    for one, other in zip(figures(whole), figures(parts), strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() & {"gen_loss", "disc_loss", "grad_norm", "gen_entropy"}:
            assert one[name] == pytest.approx(other[name], rel=1e-4), (one["step"], name)
        assert one.get("tokens") == other.get("tokens")
        assert one["share_replaced"] == pytest.approx(other["share_replaced"], abs=0.01)


@pytest.mark.parametrize(
    ("body", "num_steps", "highest_gen_loss", "highest_disc_loss", "lowest_auc"),
    [("electra", 250, 2.4, 0.33, 0.6), ("modernbert", 150, 1.9, 0.2, 0.85)],
)
def test_both_networks_learn(
    body: str,
    num_steps: int,
    highest_gen_loss: float,
    highest_disc_loss: float,
    lowest_auc: float,
    shards: Path,
    tmp_path: Path,
) -> None:
    report = run(
        shards,
        tmp_path / "run",
        body=body,
        model={"hidden_size": 32, "intermediate_size": 64, "generator_layer_ratio": 1.0},
        optimizer={"learning_rate": 5e-3},
        schedule={"num_steps": num_steps},
        training={"batch_size": 32},
        evaluation={"every_steps": 250, "num_rows": 39},
        logging={"every_steps": 50},
        checkpoint={"every_steps": 250},
    )
    assert report.validation["gen_loss"] < highest_gen_loss  # 3.5 at the start, 2.88 by frequency alone
    assert report.validation["disc_loss"] < highest_disc_loss  # 0.69 at the start, 0.36 by calling all original
    assert report.validation["disc_auc"] > lowest_auc  # 0.5 at the start
    assert report.warning is None


def test_run_that_does_not_learn_is_warned_about(shards: Path, tmp_path: Path) -> None:
    report = run(shards, tmp_path / "run", optimizer={"learning_rate": 1e-9})
    assert "the generator does not learn" in (report.warning or "")
    assert "**Warning.**" in (tmp_path / "run" / "discriminator" / "README.md").read_text()


def test_generator_that_is_always_right_does_not_stop_the_run(tmp_path: Path) -> None:
    """Then nothing is replaced, and figures that need both classes are not numbers."""
    shards = write_one_word_shards(tmp_path)
    sharp = {"objective": {"temperature": 0.01}, "schedule": {"num_steps": 30}, "evaluation": {"every_steps": 5}}
    report = run(shards, tmp_path / "run", optimizer={"learning_rate": 0.02}, **sharp)
    assert report.validation["share_replaced"] == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["validation"]["disc_auc"] is None


def test_loss_that_is_no_number_stops_the_run_with_advice(shards: Path, tmp_path: Path) -> None:
    wild = {"optimizer": {"learning_rate": 1e30, "max_grad_norm": 1e30}, "schedule": {"num_steps": 20}}
    with pytest.raises(TrainingError, match=r"step \d+: the loss is not a number.*optimizer\.learning_rate"):
        run(shards, tmp_path / "run", **wild)
    assert not (tmp_path / "run" / "discriminator").exists()


def test_state_that_is_not_a_number_is_never_saved(shards: Path, tmp_path: Path) -> None:
    wild = {"optimizer": {"learning_rate": 1e30, "max_grad_norm": 1e30}, "schedule": {"num_steps": 20}}
    with pytest.raises(TrainingError, match="the loss is not a number"):
        run(shards, tmp_path / "run", **wild, logging={"every_steps": 100}, checkpoint={"every_steps": 1})
    for path in (tmp_path / "run" / "state").glob("step-*/networks.safetensors"):
        assert all(torch.isfinite(tensor).all() for tensor in load_file(path).values())


def test_run_folder_says_what_was_asked_what_ran_and_what_came_of_it(electra_run: Path, shards: Path) -> None:
    names = {path.name for path in electra_run.iterdir()}
    assert names == {
        "config.toml", "environment.json", "metrics.jsonl", "results.json", "state", "discriminator", "generator"
    }  # fmt: skip
    assert load_recipe(electra_run / "config.toml").model_dump(exclude_unset=True)["data"]["path"] == str(shards)
    environment = json.loads((electra_run / "environment.json").read_text())
    assert environment["data"] == {"path": str(shards), "digest": open_shards(shards).digest}
    assert environment["precision"] == "float32"
    results = json.loads((electra_run / "results.json").read_text())
    data = open_shards(shards)
    order = RowOrder(data.num_rows("train"), seed=0).row_indices(0, 10 * 8)
    assert (results["steps"], results["tokens"]) == (10, data.rows("train", order).lengths.sum())


def test_metrics_are_written_at_their_steps(electra_run: Path) -> None:
    records = figures(electra_run)
    assert [record["step"] for record in records if record["kind"] == "train"] == [2, 4, 6, 8, 10]
    assert [record["step"] for record in records if record["kind"] == "validation"] == [5, 10]
    assert [record["learning_rate"] for record in records if record["kind"] == "train"] == pytest.approx(
        [0.002 * factor for factor in (1, 7 / 9, 5 / 9, 3 / 9, 1 / 9)]  # of the steps 1, 3, …, counted from 0
    )


def test_embeddings_that_are_shared_are_saved_once_and_equal(electra_run: Path) -> None:
    weights = tensors(electra_run)
    name = "electra.embeddings.word_embeddings.weight"
    assert torch.equal(weights[f"discriminator.{name}"], weights[f"generator.{name}"])
    state = load_file(electra_run / "state" / "step-00000010" / "networks.safetensors")
    assert sum(tensor.shape == weights[f"generator.{name}"].shape for tensor in state.values()) == 1


@pytest.mark.parametrize("kind", ["none", "word", "all"])
@pytest.mark.parametrize("body", BODIES)
def test_all_kinds_of_sharing_survive_a_resume(
    body: str, kind: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"schedule": {"num_steps": 4}, "checkpoint": {"every_steps": 2}, "model": {"embedding_sharing": kind}}
    run(shards, tmp_path / "straight", body=body, **short)
    run_killed_at(3, shards, tmp_path / "killed", monkeypatch, body=body, **short)
    run(shards, tmp_path / "killed", body=body, resume=True, **short)
    assert_same_run(tmp_path / "killed", tmp_path / "straight")


@pytest.mark.parametrize("body", BODIES)
def test_run_with_shared_layers_from_cooccurrence_survives_a_resume(
    body: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"share_layers": True, "embedding_init": "cooccurrence", "generator_layer_ratio": 1.0}
    short = {"schedule": {"num_steps": 4}, "checkpoint": {"every_steps": 2}, "model": model}
    run(shards, tmp_path / "straight", body=body, **short)
    run_killed_at(3, shards, tmp_path / "killed", monkeypatch, body=body, **short)
    run(shards, tmp_path / "killed", body=body, resume=True, **short)
    assert_same_run(tmp_path / "killed", tmp_path / "straight")
    generator, discriminator = (
        load_file(tmp_path / "straight" / role / "model.safetensors") for role in ("generator", "discriminator")
    )
    layers = [name for name in generator if ".layer" in name]
    assert len(layers) > 8
    assert all(torch.equal(generator[name], discriminator[name]) for name in layers)


def test_table_from_cooccurrence_starts_otherwise_than_a_random_one(shards: Path, tmp_path: Path) -> None:
    tables = []
    for kind in ("normal", "cooccurrence"):
        still = {"optimizer": {"learning_rate": 1e-12}, "schedule": {"num_steps": 1}}
        run(shards, tmp_path / kind, body="modernbert", model={"embedding_init": kind}, **still)
        weights = load_file(tmp_path / kind / "discriminator" / "model.safetensors")
        tables.append(weights["model.embeddings.tok_embeddings.weight"])
    is_same = (tables[0] - tables[1]).abs().amax(1) < 1e-6
    assert is_same[:5].all()  # special tokens keep their random values
    assert not is_same[5:].any()
    lengths = tables[1][5:].norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.02 * 16**0.5))


@pytest.mark.parametrize("sharing", ["word", "none", "gdes"])
@pytest.mark.parametrize("kind", ["normal", "cooccurrence"])
def test_length_of_token_embeddings_is_as_asked(kind: str, sharing: str, shards: Path, tmp_path: Path) -> None:
    tables = []
    for std in (None, 0.1):
        model = {"embedding_init": kind, "embedding_std": std, "embedding_sharing": sharing}
        still = {"optimizer": {"learning_rate": 1e-12}, "schedule": {"num_steps": 1}}
        run(shards, tmp_path / f"{std}", body="modernbert", model=model, **still)
        for role in ("generator", "discriminator"):
            weights = load_file(tmp_path / f"{std}" / role / "model.safetensors")
            tables.append(weights["model.embeddings.tok_embeddings.weight"])
    for usual, long in zip(tables[:2], tables[2:], strict=True):
        torch.testing.assert_close(long, 5 * usual)


def test_altered_shard_is_found_when_asked(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "altered")
    path = tmp_path / "altered" / "train" / "00000.ds"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    overrides = settings(tmp_path / "altered")
    with pytest.raises(DataError, match=r"00000\.ds"):
        pretrain("tiny", output=tmp_path / "run", overrides=overrides, verify=True)
    assert not (tmp_path / "run").exists()


def test_existing_output_is_refused_and_kept(shards: Path, electra_run: Path) -> None:
    before = figures(electra_run)
    with pytest.raises(DataError, match="exists already"):
        run(shards, electra_run)
    assert figures(electra_run) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": {"path": "no/such/folder"}},
        {"model": {"num_heads": 3}},
        {"optimizer": {"kind": "schedule-free", "ema_decay": 0.99}},
        {"optimizer": {"kind": "schedule-free", "beta1": 0.0}},
    ],
)
def test_run_that_cannot_start_does_not_destroy_the_one_it_would_replace(
    shards: Path, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    output = tmp_path / "run"
    output.mkdir()
    (output / "results.json").write_text("{}")
    with pytest.raises((ConfigError, DataError)):
        pretrain("tiny", output=output, overrides=settings(shards, **wrong), overwrite=True)
    assert (output / "results.json").exists()


def test_overwrite_starts_anew(shards: Path, electra_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    run(shards, output, schedule={"num_steps": 2})
    pretrain("tiny", output=output, overrides=settings(shards), overwrite=True)
    assert_same_run(output, electra_run)


def test_data_path_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.path is not set.*--data\.path"):
        pretrain("tiny", output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"max_positions": 16}, r"model\.max_positions = 16, but the rows of .* have up to 24 tokens"),
        ({"num_heads": 3}, r"model\.num_heads = 3 does not divide model\.hidden_size = 16"),
        ({"body": "modernbert", "embedding_size": 8}, r"model\.embedding_size = 8"),
        ({"body": "modernbert", "generator_hidden_ratio": 0.5}, r"embedding_sharing.*generator_hidden_ratio"),
    ],
)
def test_sizes_that_do_not_fit_are_named(model: dict[str, Any], message: str, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run(shards, tmp_path / "run", body=model.pop("body", "electra"), model=model)
    assert not (tmp_path / "run").exists()


def test_run_without_a_validation_part_has_no_held_out_figures(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, validation_share=0.0)
    report = run(shards, tmp_path / "run", schedule={"num_steps": 2})
    assert report.validation == {}
    assert "No validation part." in (tmp_path / "run" / "generator" / "README.md").read_text()


def test_budget_of_minutes_ends_a_run(shards: Path, tmp_path: Path) -> None:
    report = run(shards, tmp_path / "run", schedule={"num_steps": 1_000_000, "budget_minutes": 0.01})
    assert 0 < report.steps < 1_000_000
    assert report.seconds < 5
    assert figures(tmp_path / "run")[-1]["step"] == report.steps


@pytest.mark.parametrize("body", BODIES)
def test_bf16_run_has_nearly_the_losses_of_an_fp32_run(
    body: str, shards: Path, electra_run: Path, modernbert_run: Path, tmp_path: Path
) -> None:
    run(shards, tmp_path / "run", body=body, training={"precision": "bf16"})
    exact = electra_run if body == "electra" else modernbert_run
    for one, other in zip(figures(tmp_path / "run"), figures(exact), strict=True):
        assert one["gen_loss"] == pytest.approx(other["gen_loss"], rel=0.02)
        assert one["disc_loss"] == pytest.approx(other["disc_loss"], rel=0.1)
    assert all(tensor.dtype is torch.float32 for tensor in tensors(tmp_path / "run").values())
