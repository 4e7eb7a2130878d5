"""Runs that start from published networks: what is taken over, what is new, what must fit."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.corpora import write_one_word_shards
from support.runs import BODIES, assert_same_run, run, run_killed_at, settings, tensors

from electrify.cli import main
from electrify.errors import CheckpointError, ConfigError, DataError
from electrify.models.checkpoint import load_model, read_config, save_model
from electrify.models.electra import ElectraModel
from electrify.training.distributed import World
from electrify.training.optimizers import Optimizer
from electrify.verbs.pretrain import pretrain

NO_STEP = {"schedule": {"num_steps": 1, "warmup_share": 1.0}, "optimizer": {"learning_rate": 1e-12, "weight_decay": 0}}
SIZES = ("body", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "local_attention")


@pytest.fixture(scope="module")
def published(electra_run: Path, modernbert_run: Path) -> dict[str, Path]:
    return {"electra": electra_run, "modernbert": modernbert_run}


def start(shards: Path, output: Path, folder: Path, *, resume: bool = False, **sections: Any) -> Any:
    """Run a recipe whose sizes are those of `tiny`, so that the folder's have to take their place."""
    overrides = settings(shards, **sections)
    for name in (*SIZES, "generator_layer_ratio", "global_attention_every", "share_layers", "embedding_init"):
        if name not in sections.get("model", {}):
            del overrides["model"][name]
    return pretrain("tiny", output=output, overrides={**overrides, "init_from": str(folder)}, resume=resume)


def only(folder: Path, role: str, target: Path) -> Path:
    shutil.copytree(folder / role, target / role)
    return target


def of(role: str, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in found.items() if name.startswith(f"{role}.")}


def assert_near(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("body", BODIES)
def test_a_pair_is_taken_over_whole_with_its_sizes(body, published, shards, tmp_path):
    start(shards, tmp_path / "run", published[body], **NO_STEP)
    assert_near(tensors(tmp_path / "run"), tensors(published[body]))
    config = json.loads((tmp_path / "run/discriminator/config.json").read_text())
    before = json.loads((published[body] / "discriminator/config.json").read_text())
    assert {k: v for k, v in config.items() if k != "electrify"} == {
        k: v for k, v in before.items() if k != "electrify"
    }


@pytest.mark.parametrize("body", BODIES)
def test_it_learns_on_from_there(body, published, shards, tmp_path):
    onward = start(shards, tmp_path / "onward", published[body])
    before = json.loads((published[body] / "results.json").read_text())["validation"]
    assert onward.validation["gen_loss"] < before["gen_loss"]


@pytest.mark.parametrize("body", BODIES)
def test_a_missing_generator_is_built_from_the_discriminators_embeddings(body, published, shards, tmp_path, caplog):
    folder = only(published[body], "discriminator", tmp_path / "single")
    caplog.set_level(logging.INFO)
    start(shards, tmp_path / "run", folder, **NO_STEP, model={"embedding_sharing": "word"})
    mine, theirs = tensors(tmp_path / "run"), tensors(published[body])
    assert_near(of("discriminator", mine), of("discriminator", theirs))
    table = "embeddings.word_embeddings" if body == "electra" else "embeddings.tok_embeddings"
    name = next(name for name in of("generator", mine) if table in name)
    torch.testing.assert_close(mine[name], mine[name.replace("generator", "discriminator", 1)])
    assert "generator: new" in caplog.text
    assert "only the" in caplog.text


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("share_layers", [True, False])
@pytest.mark.parametrize("sharing", ["none", "word", "all"])
def test_a_missing_discriminator_takes_the_generators_embeddings(
    body, sharing, share_layers, published, shards, tmp_path
):
    folder = only(published[body], "generator", tmp_path / "single")
    sizes = {"hidden_size": 16, "num_heads": 2, "num_layers": 3, "embedding_sharing": sharing}
    sizes |= {"share_layers": share_layers, "intermediate_size": 24}
    start(shards, tmp_path / "run", folder, **NO_STEP, model=sizes)
    mine, theirs = tensors(tmp_path / "run"), tensors(published[body])
    assert_near(of("generator", mine), of("generator", theirs))
    taken = [name for name in of("generator", mine) if "embeddings." in name]
    assert len(taken) >= 2
    for name in taken:
        torch.testing.assert_close(mine[name], mine[name.replace("generator", "discriminator", 1)])
    config = json.loads((tmp_path / "run/discriminator/config.json").read_text())
    assert config["num_hidden_layers"] == 3
    layer = next(name for name in mine if name.startswith("generator.") and ".0." in name and mine[name].dim() > 1)
    assert torch.equal(mine[layer], mine[layer.replace("generator", "discriminator", 1)]) == share_layers


def test_layers_of_another_kind_are_not_shared(published, shards, tmp_path):
    folder = only(published["modernbert"], "generator", tmp_path / "single")
    sizes = {"hidden_size": 16, "num_heads": 2, "num_layers": 3, "intermediate_size": 48}
    start(shards, tmp_path / "run", folder, **NO_STEP, model=sizes)
    assert "share_layers = false" in (tmp_path / "run/config.toml").read_text()


def test_a_discriminator_of_another_width_gets_embeddings_of_its_own(published, shards, tmp_path, caplog):
    folder = only(published["modernbert"], "generator", tmp_path / "single")
    caplog.set_level(logging.INFO)
    start(shards, tmp_path / "run", folder, **NO_STEP, model={"hidden_size": 24, "num_heads": 2, "num_layers": 2})
    assert "as the widths differ" in caplog.text
    table = load_file(tmp_path / "run/discriminator/model.safetensors")["model.embeddings.tok_embeddings.weight"]
    assert table.shape[1] == 24


def test_a_folder_of_one_network_is_known_by_what_it_holds(published, shards, tmp_path):
    start(shards, tmp_path / "run", published["electra"] / "discriminator", **NO_STEP)
    assert_near(of("discriminator", tensors(tmp_path / "run")), of("discriminator", tensors(published["electra"])))
    start(shards, tmp_path / "other", published["electra"] / "generator", **NO_STEP)
    assert_near(of("generator", tensors(tmp_path / "other")), of("generator", tensors(published["electra"])))


def test_a_bare_body_gets_a_new_head(published, shards, tmp_path, caplog):
    body = tmp_path / "body"
    shutil.copytree(published["electra"] / "discriminator", body)
    model = load_model(body, ElectraModel)
    (body / "manifest.json").unlink()  # it describes the old weights
    save_model(model, body)
    caplog.set_level(logging.INFO)
    start(shards, tmp_path / "run", body, **NO_STEP)
    assert "with a new head" in caplog.text
    mine = of("discriminator.electra", tensors(tmp_path / "run"))
    assert_near(mine, of("discriminator.electra", tensors(published["electra"])))


def test_until_the_warm_up_is_over_only_what_is_new_is_trained(published, shards, tmp_path):
    folder = only(published["electra"], "discriminator", tmp_path / "single")
    start(shards, tmp_path / "warm", folder, schedule={"num_steps": 6, "warmup_share": 1.0})
    mine, theirs = tensors(tmp_path / "warm"), tensors(published["electra"])
    for name, tensor in of("discriminator", mine).items():
        assert torch.equal(tensor, theirs[name]), name  # bit for bit
    start(shards, tmp_path / "cold", folder, **NO_STEP)
    cold = tensors(tmp_path / "cold")
    assert not torch.equal(mine["generator.generator_lm_head.bias"], cold["generator.generator_lm_head.bias"])
    start(shards, tmp_path / "past", folder, schedule={"num_steps": 6, "warmup_share": 0.5})
    past = tensors(tmp_path / "past")
    table = "discriminator.electra.embeddings.word_embeddings.weight"
    assert not torch.equal(past[table], theirs[table])


def test_what_waits_goes_by_the_first_process_and_not_by_its_own_clock(published, shards, tmp_path, monkeypatch):
    folder = only(published["electra"], "discriminator", tmp_path / "single")
    update, waited = Optimizer.update, []

    def watched(optimizer: Optimizer, factor: float) -> None:
        waited.append(optimizer.is_waiting)
        update(optimizer, factor)

    monkeypatch.setattr(Optimizer, "update", watched)
    monkeypatch.setattr(World, "of_first", lambda _world, value, _device: value**2 if value > 0 else value)
    start(shards, tmp_path / "run", folder, schedule={"num_steps": 10, "warmup_share": 0.4})
    assert waited == [True] * 7 + [False] * 3  # 0.6² < 0.4 < 0.7²


@pytest.mark.parametrize("step", [3, 5, 8])  # before the first state, at it, after it
def test_a_killed_run_goes_on_without_the_folder_it_came_from(step, published, shards, tmp_path, monkeypatch):
    single = only(published["electra"], "discriminator", tmp_path / "single")
    sections = {"schedule": {"num_steps": 10, "warmup_share": 0.6}}
    start(shards, tmp_path / "straight", single, **sections)
    with monkeypatch.context() as patch:
        patch.setattr("support.runs.run", lambda shards, output, **sections: start(shards, output, single, **sections))
        run_killed_at(step, shards, tmp_path / "killed", monkeypatch, **sections)
    if step >= 5:
        shutil.rmtree(single)
    start(shards, tmp_path / "killed", single, resume=True, **sections)
    assert_same_run(tmp_path / "killed", tmp_path / "straight")


def test_what_differs_between_two_published_networks_is_not_shared(published, shards, tmp_path):
    """`tiny` shares layers and the word table; a pair of which only the table is equal keeps its layers apart."""
    start(shards, tmp_path / "run", published["modernbert"], **NO_STEP)
    config = (tmp_path / "run/config.toml").read_text()
    assert "share_layers = false" in config
    assert 'embedding_sharing = "word"' in config
    assert_near(tensors(tmp_path / "run"), tensors(published["modernbert"]))


def test_a_pair_that_shares_layers_goes_on_sharing_them(shards, tmp_path):
    run(shards, tmp_path / "one", body="modernbert", model={"share_layers": True})
    start(shards, tmp_path / "two", tmp_path / "one")
    assert "share_layers = true" in (tmp_path / "two/config.toml").read_text()


def test_the_config_that_was_written_repeats_the_run(published, shards, tmp_path):
    start(shards, tmp_path / "one", published["electra"])
    pretrain(tmp_path / "one/config.toml", output=tmp_path / "two")
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_sizes_that_were_asked_for_and_differ_are_named_in_one_line(published, shards, tmp_path):
    with pytest.raises(ConfigError) as caught:
        start(
            shards, tmp_path / "run", published["electra"], model={"hidden_size": 32, "num_heads": 2, "num_layers": 5}
        )
    text = str(caught.value)
    assert "model.hidden_size = 32, the folder's is 16; model.num_layers = 5, the folder's is 2" in text
    assert "num_heads" not in text
    assert "\n" not in text
    assert not (tmp_path / "run").exists()


def test_an_own_recipe_that_differs_is_named_too(published, shards, tmp_path):
    (tmp_path / "own.toml").write_text(f'init_from = "{published["electra"]}"\n[model]\nnum_layers = 7\n')
    with pytest.raises(ConfigError, match=r"model\.num_layers = 7, the folder's is 2"):
        pretrain(tmp_path / "own.toml", output=tmp_path / "run", overrides={"data": {"path": str(shards)}})


def test_shards_of_another_tokenizer_are_refused(published, shards, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(published["electra"], folder)
    for role in ("discriminator", "generator"):
        text = (folder / role / "tokenizer.json").read_text()
        (folder / role / "tokenizer.json").write_text(text.replace('"lowercase": false', '"lowercase": true'))
        (folder / role / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer is not the one that the shards were made with.*--tokenizer"):
        start(shards, tmp_path / "run", folder)


def test_a_folder_without_networks_says_what_was_expected(shards, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"neither a run with discriminator/, encoder/, .* nor a model folder"):
        start(shards, tmp_path / "run", tmp_path / "empty")
    with pytest.raises(CheckpointError, match="no such folder"):
        start(shards, tmp_path / "run", tmp_path / "none")


def test_two_networks_that_do_not_belong_together_are_refused(published, shards, tmp_path):
    only(published["electra"], "discriminator", tmp_path / "mixed")
    only(published["modernbert"], "generator", tmp_path / "mixed")
    with pytest.raises(CheckpointError, match="differ in their kind or vocabulary"):
        start(shards, tmp_path / "run", tmp_path / "mixed")


def test_rows_longer_than_the_folder_takes_are_refused(published, tmp_path):
    shards = write_one_word_shards(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(published["modernbert"], folder)
    for role in ("discriminator", "generator"):
        path = folder / role / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 8}))
        (folder / role / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"model\.max_positions = 8, but the rows"):
        start(shards, tmp_path / "run", folder)


REACH = {"max_positions": 2048, "local_attention": 16, "global_rope_theta": 1e6, "local_rope_theta": 2e4}


def test_a_modernbert_pair_is_made_to_read_longer_rows(published, shards, tmp_path):
    start(shards, tmp_path / "run", published["modernbert"], **NO_STEP, model=REACH)
    assert_near(tensors(tmp_path / "run"), tensors(published["modernbert"]))
    for role in ("discriminator", "generator"):
        config = read_config(tmp_path / "run" / role)
        assert (config.max_position_embeddings, config.local_attention) == (2048, 16)
        assert (config.global_rope_theta, config.local_rope_theta) == (1e6, 2e4)
    pretrain(tmp_path / "run/config.toml", output=tmp_path / "again")
    assert_same_run(tmp_path / "run", tmp_path / "again")


def test_a_run_that_was_made_to_read_longer_rows_resumes(published, shards, tmp_path, monkeypatch):
    source, sections = published["modernbert"], {"model": REACH}
    start(shards, tmp_path / "straight", source, **sections)
    with monkeypatch.context() as patch:
        patch.setattr("support.runs.run", lambda shards, output, **more: start(shards, output, source, **more))
        run_killed_at(7, shards, tmp_path / "killed", monkeypatch, **sections)
    start(shards, tmp_path / "killed", source, resume=True, **sections)
    assert_same_run(tmp_path / "killed", tmp_path / "straight")


def test_an_electra_pair_has_a_vector_for_each_position(published, shards, tmp_path):
    with pytest.raises(ConfigError, match=r"model\.max_positions = 2048, the folder's is 32"):
        start(shards, tmp_path / "run", published["electra"], model={"max_positions": 2048})


def test_a_damaged_start_file_is_named(published, shards, tmp_path):
    start(shards, tmp_path / "run", published["electra"])
    (tmp_path / "run/start.json").write_text('{"networks": []}')
    with pytest.raises(CheckpointError, match=r"start\.json"):
        start(shards, tmp_path / "run", published["electra"], resume=True)


def test_the_command_has_the_option(published, shards, tmp_path, capsys):
    words = ["pretrain", "tiny", "--init-from", str(published["electra"]), "--data.path", str(shards)]
    with pytest.raises(SystemExit) as end:
        main([*words, "--output", str(tmp_path / "run"), "--schedule.num-steps", "2", "--model.num-layers", "9"])
    assert end.value.code == 2
    assert "model.num_layers = 9, the folder's is 2" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["contrastive", "halves"])
def test_kinds_beside_rtd_begin_with_its_networks(kind, published, shards, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    start(shards, tmp_path / "run", published["electra"], objective={"kind": kind}, **NO_STEP)
    assert_near(tensors(tmp_path / "run"), tensors(published["electra"]))
    only_head_is_new = "only the 4 new tensors are trained" in caplog.text  # two weights, two biases
    assert only_head_is_new == (kind == "halves")


def test_what_is_known_of_hard_tokens_is_no_network_that_others_wait_for(published, shards, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    start(shards, tmp_path / "run", published["electra"], masking={"adaptive": 1.0}, **NO_STEP)
    assert "new tensors" not in caplog.text
