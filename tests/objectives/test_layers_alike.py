"""Layers with one set of weights: in the run one, in the published folder plain layers that are equal."""

import pytest
import torch
from safetensors.torch import load_file
from support.runs import BODIES, assert_same_run, run, run_killed_at

from electrify.errors import ConfigError
from electrify.models.checkpoint import load_model
from electrify.verbs.pretrain import pretrain

ALIKE = {"num_layers": 3, "layers_alike": True}


@pytest.mark.parametrize("body", BODIES)
def test_published_layers_are_equal_and_plain(body, shards, tmp_path):
    run(shards, tmp_path / "run", body=body, model=ALIKE)
    tensors = load_file(tmp_path / "run/discriminator/model.safetensors")
    layers = {"electra": "electra.encoder.layer", "modernbert": "model.layers"}[body]
    first = [name for name in tensors if name.startswith(f"{layers}.1.")]
    assert len(first) >= 6
    for name in first:
        assert torch.equal(tensors[name], tensors[name.replace(f"{layers}.1.", f"{layers}.2.")])
    import transformers

    theirs = transformers.AutoModel.from_pretrained(tmp_path / "run/discriminator")
    assert theirs.config.model_type == body


def test_it_learns_one_layers_weights(shards, tmp_path):
    run(shards, tmp_path / "alike", body="modernbert", model=ALIKE)
    run(shards, tmp_path / "apart", body="modernbert", model={"num_layers": 3})
    sizes = [
        sum(one.numel() for one in load_file(next((tmp_path / name / "state").glob("*/networks.safetensors"))).values())
        for name in ("alike", "apart")
    ]
    assert sizes[0] < 0.7 * sizes[1]


def test_it_resumes_and_can_be_started_from(shards, tmp_path, monkeypatch):
    run(shards, tmp_path / "straight", body="modernbert", model=ALIKE)
    run_killed_at(7, shards, tmp_path / "killed", monkeypatch, body="modernbert", model=ALIKE)
    run(shards, tmp_path / "killed", body="modernbert", model=ALIKE, resume=True)
    assert_same_run(tmp_path / "straight", tmp_path / "killed")
    more = {"data": {"path": str(shards)}, "schedule": {"num_steps": 2}, "init_from": str(tmp_path / "straight")}
    pretrain("tiny", output=tmp_path / "more", overrides={**more, "model": {"layers_alike": True}})
    body = load_model(tmp_path / "more/discriminator", "ModernBertModel")
    assert torch.equal(body.layers[1].attn.Wqkv.weight, body.layers[2].attn.Wqkv.weight)


def test_networks_whose_layers_differ_are_not_made_alike(modernbert_run, shards, tmp_path):
    more = {"data": {"path": str(shards)}, "schedule": {"num_steps": 2}, "init_from": str(modernbert_run)}
    with pytest.raises(ConfigError, match=r"model\.layers_alike = True, the folder's is False"):
        pretrain("tiny", output=tmp_path / "more", overrides={**more, "model": {"layers_alike": True}})


def test_relative_bias_is_for_the_electra_body(shards, tmp_path):
    with pytest.raises(ConfigError, match="rotary positions; leave it out"):
        run(shards, tmp_path / "run", body="modernbert", model={"relative_bias": True})


@pytest.mark.parametrize(
    ("body", "model"),
    [("electra", {"relative_bias": True, "attention_gate": True}), ("modernbert", {"attention_gate": True})],
)
def test_a_run_with_own_parts_says_so_and_can_be_started_from(body, model, shards, tmp_path):
    run(shards, tmp_path / "run", body=body, model=model)
    card = (tmp_path / "run/discriminator/README.md").read_text()
    assert "opens with electrify alone" in card
    assert "from_pretrained" not in card
    more = {"data": {"path": str(shards)}, "schedule": {"num_steps": 2}, "init_from": str(tmp_path / "run")}
    pretrain("tiny", output=tmp_path / "more", overrides=more)
    assert "attention_gate = true" in (tmp_path / "more/config.toml").read_text()
