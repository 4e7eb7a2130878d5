"""Runs of every objective: interrupted or in parts they are the same, and their folders can be used."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from support.corpora import write_shards
from support.processes import finish, start
from support.runs import BODIES, assert_close_runs, assert_same_run, figures, run, run_killed_at

from electrify.config import FinetuneConfig
from electrify.errors import CheckpointError, ConfigError
from electrify.models.checkpoint import saved_network
from electrify.pretraining.objectives import OBJECTIVES
from electrify.report.page import pretraining_pictures
from electrify.verbs.fill import fill
from electrify.verbs.finetune import finetune
from electrify.verbs.generate import generate

FILLED_BY = {"mlm": "encoder", "replace-mlm": "generator", "all-tokens-mlm": "generator", "hybrid": "encoder"}
KINDS = tuple(kind for kind in OBJECTIVES if kind != "rtd")  # which all other tests of runs are about
SHARDED = ("all-tokens-mlm", "hybrid", "electric", "span")
BESIDE_RTD = ("contrastive", "halves")  # with further losses
IN_PARTS = tuple(kind for kind in KINDS if kind != "contrastive")  # whose loss compares the rows of a micro-batch
FSDP = {"parallel": "fsdp"}
DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1}


def of_kind(kind: str, **sections: Any) -> dict[str, Any]:
    return {"objective": {"kind": kind}, "model": DROPOUT, **sections}


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """A run of each kind and body that nothing interrupted."""
    folder = tmp_path_factory.mktemp("kinds")
    places = {(kind, body): folder / f"{kind}-{body}" for kind in KINDS for body in BODIES}
    for (kind, body), place in places.items():
        run(shards, place, body=body, **of_kind(kind))
    return places


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_run_equals_one_that_was_not(
    kind: str, body: str, shards: Path, runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_killed_at(8, shards, tmp_path / "run", monkeypatch, body=body, **of_kind(kind))
    run(shards, tmp_path / "run", body=body, resume=True, **of_kind(kind))
    assert_same_run(tmp_path / "run", runs[kind, body])


@pytest.mark.parametrize("kind", IN_PARTS)
def test_micro_batches_add_up_to_the_batch(kind: str, tmp_path: Path) -> None:
    shards = write_shards(tmp_path, pack="pieces")  # rows of unlike lengths
    every_step = {"logging": {"every_steps": 1, "tensorboard": False}}
    run(shards, tmp_path / "whole", **of_kind(kind, **every_step))
    run(shards, tmp_path / "parts", **of_kind(kind, training={"micro_batch_size": 3}, **every_step))
    assert_close_runs(tmp_path / "whole", tmp_path / "parts", rel=1e-4, atol=1e-4)


def test_a_loss_that_compares_rows_is_not_resumed_with_other_micro_batches(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, often = tmp_path / "run", {"checkpoint": {"every_steps": 2}}
    run_killed_at(3, shards, output, monkeypatch, **of_kind("contrastive", **often))
    parts = of_kind("contrastive", training={"micro_batch_size": 2}, **often)
    with pytest.raises(ConfigError, match=r"training\.micro_batch_size = None, now it is 2"):
        run(shards, output, resume=True, **parts)
    (output / "config.toml").unlink()
    with pytest.raises(CheckpointError, match="another run"):
        run(shards, output, resume=True, **parts)


@pytest.mark.parametrize(
    ("kind", "parallel"),
    [
        *((kind, "ddp") for kind in KINDS),
        *((kind, "fsdp") for kind in (*SHARDED, *BESIDE_RTD)),
    ],
)
def test_two_processes_train_what_one_does(kind: str, parallel: str, shards: Path, runs: Any, tmp_path: Path) -> None:
    process = start(shards, tmp_path / "run", processes=2, **of_kind(kind, training={"parallel": parallel}))
    said = finish(process)
    assert process.returncode == 0, said
    assert_close_runs(tmp_path / "run", runs[kind, "electra"])


@pytest.mark.parametrize("kind", ["electric", "hybrid"])
def test_shards_of_layers_that_read_each_others_norms(kind: str, shards: Path, runs: Any, tmp_path: Path) -> None:
    process = start(shards, tmp_path / "run", processes=2, body="modernbert", **of_kind(kind, training=FSDP))
    said = finish(process)
    assert process.returncode == 0, said
    assert_close_runs(tmp_path / "run", runs[kind, "modernbert"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_of_a_run_opens_in_transformers(kind: str, runs: Any) -> None:
    for body in BODIES:
        folder = runs[kind, body]
        for place in sorted(folder.glob("*/config.json")):
            name = transformers.AutoConfig.from_pretrained(place.parent).architectures[0]
            _, report = getattr(transformers, name).from_pretrained(place.parent, output_loading_info=True)
            assert not any(report.values()), (place, report)
            ours = saved_network(place.parent).__name__
            assert ours in (name, "ModernBertForPreTraining")
            assert f"`{name}`: " in (place.parent / "README.md").read_text()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", FILLED_BY)
def test_what_was_trained_to_fill_fills(kind: str, body: str, runs: Any) -> None:
    (candidates,) = fill(runs[kind, body] / FILLED_BY[kind], "the [MASK] eats .", top=3)
    assert len(candidates) == 3


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", ["clm", "hybrid"])
def test_what_was_trained_to_continue_continues_here_and_in_transformers(kind: str, body: str, runs: Any) -> None:
    folder = runs[kind, body] / "decoder"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer("the cat", return_tensors="pt")["input_ids"][:, :-1]
    settings = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    special = [[one] for one in tokenizer.all_special_ids if one != tokenizer.sep_token_id]
    expected = theirs.generate(
        ids, eos_token_id=tokenizer.sep_token_id, bad_words_ids=special, pad_token_id=0, **settings
    )
    new = [one for one in expected[0, ids.shape[1] :].tolist() if one != tokenizer.sep_token_id]
    assert generate(folder, "the cat", max_tokens=5, temperature=0).tokens == tokenizer.convert_ids_to_tokens(new)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_network_of_a_run_is_fine_tuned(
    kind: str, body: str, runs: Any, labelled: dict[str, Path], tmp_path: Path
) -> None:
    folder = runs[kind, body]
    first = json.loads((folder / "results.json").read_text())["networks"][0]
    report = finetune(
        folder / first,
        train=labelled["train"],
        validation=labelled["validation"],
        output=tmp_path / "classifier",
        seeds=(0,),
        config=FinetuneConfig(num_epochs=1, max_length=16),
    )
    assert report.output == str(tmp_path / "classifier")


@pytest.mark.parametrize(
    ("kind", "highest", "lowest"),
    [
        ("mlm", {"mlm_loss": 1.6}, {"mlm_accuracy": 0.5}),  # 3.5 at the start, 2.88 by frequency alone
        ("clm", {"clm_loss": 1.2}, {"clm_accuracy": 0.6}),
        ("hybrid", {"mlm_loss": 1.6, "clm_loss": 2.2}, {"clm_accuracy": 0.4}),
        ("span", {"span_loss": 1.8, "hidden_nats": 2.6}, {"span_accuracy": 0.5}),
        ("electric", {"noise_loss": 1.0, "nce_loss": 0.5}, {"mean_log_likelihood": -1.0}),
        ("contrastive", {"gen_loss": 2.2, "contrast_loss": 3.0}, {"disc_auc": 0.75, "view_accuracy": 0.3}),
        ("halves", {"gen_loss": 2.2}, {"disc_auc": 0.75, "halves_auc": 0.75}),
        ("electra-15", {"gen_loss": 2.2}, {"disc_auc": 0.75}),
        ("replace-mlm", {"gen_loss": 1.6, "mlm_loss": 2.2}, {"mlm_accuracy": 0.4}),
        ("all-tokens-mlm", {"gen_loss": 1.6, "mlm_loss": 0.5}, {"copy_auc": 0.6}),
    ],
)
def test_every_kind_learns(
    kind: str, highest: dict[str, float], lowest: dict[str, float], shards: Path, tmp_path: Path
) -> None:
    steps = 300 if kind == "halves" else 150  # whose relation is learned last
    report = run(
        shards,
        tmp_path / "run",
        body="modernbert",
        model={"hidden_size": 32, "intermediate_size": 64, "generator_layer_ratio": 1.0},
        objective={"kind": kind, "halves_weight": 50.0},  # the discriminator's; with 1 chance decides
        optimizer={"learning_rate": 5e-3},
        schedule={"num_steps": steps},
        training={"batch_size": 32},
        evaluation={"every_steps": steps, "num_rows": 39},
        logging={"every_steps": 50},
        checkpoint={"every_steps": steps},
    )
    assert all(report.validation[name] < bound for name, bound in highest.items()), report.validation
    assert all(report.validation[name] > bound for name, bound in lowest.items()), report.validation
    assert report.warning is None


@pytest.mark.parametrize(
    ("objective", "missing"),
    [
        ({"kind": "hybrid", "causal_share": 1e-9}, ("clm_loss", "clm_accuracy", "clm_entropy")),
        ({"kind": "hybrid", "causal_share": 1 - 1e-9}, ("mlm_loss", "mlm_accuracy", "mlm_entropy")),
        ({"kind": "span", "copy_share": 1e-9}, ("copy_loss", "copy_accuracy", "copy_entropy")),
        ({"kind": "span", "copy_share": 1 - 1e-9}, ("span_loss", "span_accuracy", "span_entropy", "hidden_nats")),
    ],
)
def test_figures_of_rows_that_are_not_there_are_left_out(
    objective: dict[str, Any], missing: tuple[str, ...], shards: Path, tmp_path: Path
) -> None:
    report = run(shards, tmp_path / "run", objective=objective)
    for record in [report.validation, *figures(tmp_path / "run")]:
        assert not record.keys() & set(missing)
        assert any(name.endswith("_loss") for name in record)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_shows_the_losses_of_its_kind(kind: str, runs: Any) -> None:
    folder = runs[kind, "electra"]
    losses = {name for record in figures(folder) for name in record if name.endswith("_loss")}
    assert len([one for one in pretraining_pictures(folder) if "loss" in one.title.lower()]) == len(losses) > 0
