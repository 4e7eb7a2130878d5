"""Whatever optimizer, schedule, masking or sharing a run has: a killed and resumed one equals one that was not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.runs import BODIES, assert_same_run, run, run_killed_at, settings, tensors

from electrify.errors import ConfigError
from electrify.verbs.pretrain import pretrain

OPTIONS: dict[str, dict[str, Any]] = {
    "muon": {"optimizer": {"kind": "muon"}},
    "averages and a penalty": {"optimizer": {"ema_decay": 0.9, "weight_decay_form": "l2"}},
    "gdes": {
        "model": {"embedding_sharing": "gdes", "dropout": 0.1, "generator_hidden_ratio": 1.0},
        "objective": {"generator_dropout": False},
    },
    "words": {"masking": {"unit": "word"}},
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
