"""First values of layers: as large as asked, each scaled once; equal tokens find each other in half of the heads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.runs import BODIES, run, settings
from torch import Tensor, nn

from electrify.data.shards import open_shards
from electrify.models.heads import body_of
from electrify.pretraining.layers import start_layers
from electrify.pretraining.objectives import build_objective
from electrify.recipes import load_recipe
from electrify.verbs.pretrain import pretrain

WIDE = {"hidden_size": 64, "num_heads": 2, "intermediate_size": 96}


def matrices(shards: Path, *, body: str, kind: str = "rtd", layers_alike: bool = False, **model: Any) -> list[Tensor]:
    """Matrices of a new run's layers, before any of them is used twice."""
    sizes = {**WIDE, "layers_alike": layers_alike, **model}
    config = load_recipe("tiny", settings(shards, body=body, model=sizes, objective={"kind": kind}))
    objective = build_objective(config, open_shards(shards).tokenizer())
    start_layers(objective.trained(), config.model)
    blocks = [block for network in objective.trained() for block in body_of(network).blocks]
    return [part.weight for block in blocks for part in block.modules() if isinstance(part, nn.Linear)]


@pytest.mark.parametrize("sharing", [{}, {"share_layers": True}, {"layers_alike": True}])
@pytest.mark.parametrize("body", BODIES)
def test_matrices_inside_layers_are_as_large_as_asked(body: str, sharing: dict[str, bool], shards: Path) -> None:
    usual, wide = (matrices(shards, body=body, **sharing, layer_std=std) for std in (None, 0.06))
    assert len(usual) == len(wide) > 0
    for one, other in zip(usual, wide, strict=True):
        torch.testing.assert_close(other, 3 * one)


@pytest.mark.parametrize("sharing", [{}, {"share_layers": True}])
@pytest.mark.parametrize("body", BODIES)
def test_equal_tokens_get_the_score_that_is_asked_for_in_half_of_the_heads(
    body: str, sharing: dict[str, bool], shards: Path
) -> None:
    config = load_recipe("tiny", settings(shards, body=body, model={**WIDE, **sharing, "attention_match": 3.0}))
    objective = build_objective(config, open_shards(shards).tokenizer())
    start_layers(objective.trained(), config.model)
    tokens = nn.functional.normalize(torch.randn(400, 64, generator=torch.Generator().manual_seed(0)), dim=1) * 8
    for network in objective.trained():
        for block in body_of(network).blocks:
            if body == "electra":
                attention = block.attention.self
                queries, keys = attention.query.weight.detach(), attention.key.weight.detach()
            else:
                queries, keys, _ = block.attn.Wqkv.weight.detach().chunk(3)
            for head, expected in enumerate((3.0, 0.0)):
                part = slice(32 * head, 32 * head + 32)
                scores = (tokens @ queries[part].T) @ (tokens @ keys[part].T).T / 32**0.5
                assert float(scores.diagonal().mean()) == pytest.approx(expected, abs=0.3)
                assert abs(float(scores[~torch.eye(400, dtype=torch.bool)].mean())) < 0.05


def test_layers_of_t5_keep_their_own_values(shards: Path) -> None:
    asked = {"layer_std": 0.1, "attention_match": 3.0}
    usual, other = (matrices(shards, body="electra", kind="span", **model) for model in ({}, asked))
    assert all(torch.equal(*pair) for pair in zip(usual, other, strict=True))


def test_a_run_begins_with_them_unless_it_starts_from_published_networks(shards: Path, tmp_path: Path) -> None:
    still = {"optimizer": {"learning_rate": 1e-12}, "schedule": {"num_steps": 1, "warmup_share": 1.0}}
    asked = {"model": {"layer_std": 0.1, "attention_match": 3.0}, **still}
    run(shards, tmp_path / "usual", body="modernbert", **still)
    run(shards, tmp_path / "asked", body="modernbert", **asked)
    config = settings(shards, body="modernbert", **still)
    config |= {"init_from": str(tmp_path / "usual"), "model": asked["model"]}
    pretrain("tiny", output=tmp_path / "started", overrides=config)
    usual, other, started = (
        load_file(tmp_path / name / "discriminator" / "model.safetensors") for name in ("usual", "asked", "started")
    )
    name = "model.layers.0.attn.Wqkv.weight"
    queries, keys, values = other[name].chunk(3)
    torch.testing.assert_close(queries[:8], keys[:8])  # the first of two heads of 8
    assert not torch.allclose(queries[8:], keys[8:])
    torch.testing.assert_close(values, 5 * usual[name].chunk(3)[2])
    torch.testing.assert_close(started[name], usual[name])
