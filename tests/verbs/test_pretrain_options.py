"""Whatever optimizer, schedule, masking or sharing a run has: a killed and resumed one equals one that was not."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.corpora import write_shards
from support.runs import BODIES, assert_same_run, figures, run, run_killed_at, settings, tensors

from electrify.errors import ConfigError
from electrify.verbs.pretrain import pretrain

OPTIONS: dict[str, dict[str, Any]] = {
    "muon": {"optimizer": {"kind": "muon"}},
    "lion": {"optimizer": {"kind": "lion", "beta2": 0.99}},
    "lamb": {"optimizer": {"kind": "lamb"}},
    "schedule-free": {"optimizer": {"kind": "schedule-free"}, "schedule": {"num_steps": 6, "kind": "constant"}},
    "averages and a penalty": {"optimizer": {"ema_decay": 0.9, "weight_decay_form": "l2"}},
    "gdes": {
        "model": {"embedding_sharing": "gdes", "dropout": 0.1, "generator_hidden_ratio": 1.0},
        "objective": {"generator_dropout": False},
    },
    "z-loss": {"objective": {"z_loss": 0.01}},
    "words": {"masking": {"unit": "word"}},
    "everything that moves": {
        "masking": {"mask_prob": 0.15, "mask_prob_end": 0.5},
        "objective": {"temperature_start": 3.0, "disc_weight_start": 1.0},
        "training": {"batch_size_start": 2, "batch_warmup_steps": 4},
    },
    "short rows first": {"schedule": {"num_steps": 6, "length_start": 8, "length_warmup_steps": 4}},
    "hard tokens": {"masking": {"adaptive": 1.0}},
    "hard tokens alone": {"masking": {"adaptive": 0.5}, "objective": {"kind": "mlm"}},
    "spans": {"masking": {"unit": "span"}},
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


def test_the_average_is_what_is_published_and_evaluated(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": {"ema_decay": 0.9}, "schedule": {"num_steps": 6}}
    run(shards, tmp_path / "run", **options)
    state = load_file(tmp_path / "run/state/step-00000006/optimizer.safetensors")
    weights = load_file(tmp_path / "run/state/step-00000006/networks.safetensors")
    name = "discriminator.discriminator_predictions.dense.weight"
    published = load_file(tmp_path / "run/discriminator/model.safetensors")[name.removeprefix("discriminator.")]
    assert torch.equal(published, state[f"{name}.average"])
    assert not torch.equal(published, weights[name])


def test_the_average_of_schedule_free_is_what_is_published(shards: Path, tmp_path: Path) -> None:
    run(shards, tmp_path / "run", **OPTIONS["schedule-free"])
    state = load_file(tmp_path / "run/state/step-00000006/optimizer.safetensors")
    weights = load_file(tmp_path / "run/state/step-00000006/networks.safetensors")
    name = "discriminator.discriminator_predictions.dense.weight"
    published = load_file(tmp_path / "run/discriminator/model.safetensors")[name.removeprefix("discriminator.")]
    average = (weights[name] - 0.1 * state[f"{name}.z"]) / 0.9  # gradients are taken at 0.1 z + 0.9 x
    torch.testing.assert_close(published, average, rtol=1e-4, atol=1e-6)
    assert not torch.equal(published, weights[name])


def test_gdes_is_published_as_one_plain_table(shards: Path, tmp_path: Path) -> None:
    run(shards, tmp_path / "run", **OPTIONS["gdes"], schedule={"num_steps": 4})
    table = "electra.embeddings.word_embeddings.weight"
    mine, theirs = (load_file(tmp_path / "run" / role / "model.safetensors") for role in ("discriminator", "generator"))
    state = load_file(tmp_path / "run/state/step-00000004/networks.safetensors")
    delta = state["discriminator.electra.embeddings.word_embeddings.delta"]
    assert delta.any()
    torch.testing.assert_close(mine[table], theirs[table] + delta)
    assert not any("delta" in name for name in mine)


def test_pair_that_is_taken_over_keeps_its_tables_with_gdes(shards: Path, tmp_path: Path) -> None:
    run(shards, tmp_path / "first", model={"embedding_sharing": "none", "generator_hidden_ratio": 1.0})
    overrides = settings(shards, schedule={"num_steps": 1}, optimizer={"learning_rate": 1e-9})
    overrides["model"] = {"embedding_sharing": "gdes"}
    pretrain("tiny", output=tmp_path / "second", overrides={**overrides, "init_from": str(tmp_path / "first")})
    before, after = tensors(tmp_path / "first"), tensors(tmp_path / "second")
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)


def test_words_need_a_tokenizer_that_marks_pieces_and_distinct_positions(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'masking\.draw = "distinct"'):
        run(shards, tmp_path / "run", masking={"unit": "word", "draw": "with_replacement"})


def test_hard_tokens_are_single_ones(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chooses single tokens"):
        run(shards, tmp_path / "run", masking={"adaptive": 1.0, "unit": "word"})


@pytest.mark.parametrize("kind", ["electric", "hybrid", "span"])
def test_kinds_refuse_what_they_would_pass_over(kind: str, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f'"{kind}" does not read masking.adaptive; set it to 0'):
        run(shards, tmp_path / "run", masking={"adaptive": 1.0}, objective={"kind": kind})
    if kind != "hybrid":
        with pytest.raises(ConfigError, match=f'"{kind}" does not read objective.z_loss; set it to 0'):
            run(shards, tmp_path / "run", objective={"kind": kind, "z_loss": 1e-4})


@pytest.mark.parametrize("kind", ["mlm", "clm", "span", "hybrid", "replace-mlm", "all-tokens-mlm", "electric"])
def test_kinds_without_a_discriminator_beside_a_generator_freeze_none(kind: str, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f'"{kind}" does not read objective.freeze_generator; set it to false'):
        run(shards, tmp_path / "run", objective={"kind": kind, "freeze_generator": True})


def test_batch_and_mask_rate_grow_in_a_run_and_held_out_rows_stay_as_they_are(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"schedule": {"num_steps": 6}, "logging": {"every_steps": 1, "tensorboard": False}}
    run(shards, tmp_path / "plain", **options, optimizer={"learning_rate": 1e-12})
    moving = OPTIONS["everything that moves"]
    run(shards, tmp_path / "moving", **options, **moving, optimizer={"learning_rate": 1e-12})
    plain, moved = figures(tmp_path / "plain"), figures(tmp_path / "moving")
    seen = [0, *(one["tokens"] for one in moved if one["kind"] == "train")]
    assert [after - before for before, after in pairwise(seen)] == [24 * rows for rows in (2, 3, 5, 6, 8, 8)]
    shares = [one["share_replaced"] for one in moved if one["kind"] == "train"]
    assert shares[-1] > 2 * shares[0]
    held_out = [[one for one in some if one["kind"] == "validation"][-1] for some in (plain, moved)]
    assert held_out[0]["gen_loss"] == pytest.approx(held_out[1]["gen_loss"], rel=1e-4)
    assert held_out[0]["share_replaced"] == pytest.approx(held_out[1]["share_replaced"], rel=0.01)


def test_frozen_generator_stays_as_it_was_and_the_discriminator_learns(shards: Path, tmp_path: Path) -> None:
    run(shards, tmp_path / "first")
    options = {"objective": {"freeze_generator": True}, "model": {"embedding_sharing": "gdes"}}
    overrides = settings(shards, schedule={"num_steps": 3}, objective=options["objective"])
    overrides |= {"model": options["model"], "init_from": str(tmp_path / "first")}
    pretrain("tiny", output=tmp_path / "second", overrides=overrides)
    before, after = tensors(tmp_path / "first"), tensors(tmp_path / "second")
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor) == name.startswith("generator."), name


def test_generator_that_can_not_be_frozen_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give init_from"):
        run(shards, tmp_path / "run", objective={"freeze_generator": True}, model={"embedding_sharing": "none"})
    run(shards, tmp_path / "first")
    overrides = settings(shards, objective={"freeze_generator": True})
    overrides |= {"model": {"embedding_sharing": "word"}, "init_from": str(tmp_path / "first")}
    with pytest.raises(ConfigError, match="would not stay as it is"):
        pretrain("tiny", output=tmp_path / "second", overrides=overrides)


def test_short_rows_hold_the_same_tokens_and_their_special_ones_are_counted(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"logging": {"every_steps": 1, "tensorboard": False}}
    cut = {"num_steps": 4, "length_start": 8, "length_warmup_steps": 3}
    run(shards, tmp_path / "cut", schedule=cut, **options)
    seen = [0, *(one["tokens"] for one in figures(tmp_path / "cut") if one["kind"] == "train")]
    # 22 tokens that are not special, in pieces of up to 8, 13, 18 and 24: 4, 2, 2 and 1 a row, of 8 rows.
    assert [after - before for before, after in pairwise(seen)] == [8 * (22 + 2 * pieces) for pieces in (4, 2, 2, 1)]


@pytest.mark.parametrize(
    ("section", "values", "steps"),
    [
        ("training", {"batch_size_start": 2}, "training.batch_warmup_steps = 0"),
        ("schedule", {"length_start": 8}, "schedule.length_warmup_steps = 0"),
    ],
)
def test_growth_over_no_steps_is_refused(
    section: str, values: dict[str, int], steps: str, shards: Path, tmp_path: Path
) -> None:
    (name, value), *_ = values.items()
    with pytest.raises(ConfigError, match=rf"{section}\.{name} = {value} has no effect with {steps}"):
        run(shards, tmp_path / "run", **{section: values})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("section", "name", "message"),
    [
        ("training", "batch_warmup_steps", "no effect without training.batch_size_start"),
        ("schedule", "length_warmup_steps", "no effect without schedule.length_start"),
        ("schedule", "start_step", "is for runs that are extended"),
    ],
)
def test_growth_without_a_start_and_a_start_without_an_end_before_are_refused(
    section: str, name: str, message: str, shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(shards, tmp_path / "run", **{section: {name: 3}})
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_rows_that_can_not_be_cut_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"length_start = 99, but the rows of .* have 24"):
        run(shards, tmp_path / "run", schedule={"length_start": 99})
    with pytest.raises(ConfigError, match="cuts rows itself"):
        run(shards, tmp_path / "run", schedule={"length_start": 8}, objective={"kind": "halves"})
    segments = write_shards(tmp_path / "segments", pack="segments")
    with pytest.raises(ConfigError, match="two segments can not be cut"):
        run(segments, tmp_path / "run", schedule={"length_start": 8})
    with pytest.raises(ConfigError, match="--pack pieces"):
        run(segments, tmp_path / "run", objective={"kind": "halves"})
    with pytest.raises(ConfigError, match="isolate_documents"):
        run(shards, tmp_path / "run", objective={"kind": "halves"}, data={"isolate_documents": True})
    assert not (tmp_path / "run").exists()
