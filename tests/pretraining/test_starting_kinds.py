"""Runs of every objective that start from published networks: which one takes which part, and what is new."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import BODIES, assert_same_run, run, run_killed_at, settings

from electrify.data.shards import open_shards
from electrify.errors import CheckpointError, ConfigError
from electrify.models.checkpoint import load_model, save_model, saved_network
from electrify.models.electra import ElectraModel
from electrify.models.modernbert import ModernBertModel
from electrify.models.modernbert_heads import ModernBertForMaskedLM, ModernBertForSequenceClassification
from electrify.pretraining.objectives import OBJECTIVES
from electrify.pretraining.starting import build_started, open_start
from electrify.recipes import load_recipe
from electrify.verbs.pretrain import pretrain

NO_STEP = {"schedule": {"num_steps": 1, "warmup_share": 1.0}, "optimizer": {"learning_rate": 1e-12, "weight_decay": 0}}
NO_START = ("span",)  # other networks
BY_STARTING = ("rtd", "contrastive", "halves", "electra-15")  # which test_starting.py is about
KINDS = [kind for kind in OBJECTIVES if kind not in (*BY_STARTING, *NO_START)]
SHAPE = ("body", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "local_attention")


@pytest.fixture(scope="module")
def pairs(electra_run: Path, modernbert_run: Path) -> dict[str, Path]:
    return {"electra": electra_run, "modernbert": modernbert_run}


@pytest.fixture(scope="module")
def singles(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of objectives with one published network, or one that is published twice."""
    folder = tmp_path_factory.mktemp("singles")
    for kind in ("mlm", "clm", "hybrid", "electric"):
        run(shards, folder / kind, body="modernbert", objective={"kind": kind}, schedule={"num_steps": 2})
    return {kind.name: kind for kind in folder.iterdir()}


def start(shards: Path, output: Path, kind: str, folder: Path, *, resume: bool = False, **sections: Any) -> Any:
    sections["objective"] = {"kind": kind, **sections.get("objective", {})}
    overrides = settings(shards, **sections)
    for name in (*SHAPE, "generator_layer_ratio", "global_attention_every", "share_layers", "embedding_init"):
        if name not in sections.get("model", {}):
            del overrides["model"][name]
    return pretrain("tiny", output=output, overrides={**overrides, "init_from": str(folder)}, resume=resume)


def whole(folder: Path) -> dict[str, torch.Tensor]:
    """Every parameter of a published network, by the names that it has here."""
    return load_model(folder, saved_network(folder)).state_dict()


def body_of(folder: Path) -> dict[str, torch.Tensor]:
    """The parameters of its body."""
    is_electra = saved_network(folder).__name__.startswith("Electra")
    return load_model(folder, ElectraModel if is_electra else ModernBertModel).state_dict()


def assert_near(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert mine
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-6, msg=name)


def first_of(kind: str) -> str:
    return next(iter(OBJECTIVES[kind].builders))


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_discriminator_of_a_pair_is_the_body_of_every_other_objective(
    kind: str, body: str, pairs: dict[str, Path], shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    output, first = tmp_path / "run", first_of(kind)
    start(shards, output, kind, pairs[body], **NO_STEP)
    assert_near(body_of(output / first), body_of(pairs[body] / "discriminator"))
    has_head = kind == "electric"  # whose scorer judges as a discriminator does
    assert (
        f"{first}: from {pairs[body] / 'discriminator'}{'' if has_head else ', with a new head'} (2 lay" in caplog.text
    )
    assert "Until the warm-up is over, only the" in caplog.text
    if "generator" in OBJECTIVES[kind].builders:
        assert_near(whole(output / "generator"), whole(pairs[body] / "generator"))
        assert f"generator: from {pairs[body] / 'generator'} (1 lay" in caplog.text
    if kind == "electric":
        assert "forwards: new (2 layers × 16)." in caplog.text  # by the ratios of `tiny`


@pytest.mark.parametrize("kind", ["mlm", "clm", "hybrid", "electric"])
def test_an_objective_goes_on_whole_from_its_own_networks(
    kind: str, singles: dict[str, Path], shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    start(shards, tmp_path / "run", kind, singles[kind], **NO_STEP)
    assert_near(whole(tmp_path / "run" / first_of(kind)), whole(singles[kind] / first_of(kind)))
    assert ("only the" in caplog.text) == (kind == "electric")  # its noise model is not published
    assert "new head" not in caplog.text


@pytest.mark.parametrize(("kind", "before"), [("clm", "mlm"), ("mlm", "clm"), ("hybrid", "clm"), ("clm", "hybrid")])
def test_heads_over_the_vocabulary_serve_each_other(
    kind: str, before: str, singles: dict[str, Path], shards: Path, tmp_path: Path
) -> None:
    start(shards, tmp_path / "run", kind, singles[before], **NO_STEP)
    names = sorted((first_of(kind), "encoder", "decoder"), key=lambda name: name != first_of(kind))
    source = next(singles[before] / name for name in names if (singles[before] / name).exists())
    assert_near(whole(tmp_path / "run" / first_of(kind)), whole(source))


def test_a_pair_grows_from_a_masked_language_model(
    singles: dict[str, Path], shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    start(shards, tmp_path / "run", "rtd", singles["mlm"], **NO_STEP, model={"embedding_sharing": "word"})
    mine = body_of(tmp_path / "run/discriminator")
    assert_near(mine, body_of(singles["mlm"] / "encoder"))
    table = "embeddings.tok_embeddings.weight"
    assert torch.equal(body_of(tmp_path / "run/generator")[table], mine[table])
    assert "discriminator: from" in caplog.text
    assert "generator: new" in caplog.text


@pytest.mark.parametrize("kind", ["mlm", "replace-mlm"])
def test_a_generator_alone_fills_in_or_stands_beside_a_new_encoder(
    kind: str, pairs: dict[str, Path], shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shutil.copytree(pairs["electra"] / "generator", tmp_path / "single/generator")
    sizes = {"hidden_size": 16, "num_heads": 2, "num_layers": 3, "intermediate_size": 24} if kind != "mlm" else {}
    start(shards, tmp_path / "run", kind, tmp_path / "single", **NO_STEP, model=sizes)
    role = "encoder" if kind == "mlm" else "generator"
    assert_near(whole(tmp_path / "run" / role), whole(pairs["electra"] / "generator"))
    assert ("encoder: new (3 layers × 16)" in caplog.text) == (kind != "mlm")


def test_a_folder_of_one_network_is_the_first_one(pairs: dict[str, Path], shards: Path, tmp_path: Path) -> None:
    start(shards, tmp_path / "run", "replace-mlm", pairs["modernbert"] / "generator", **NO_STEP)
    assert_near(whole(tmp_path / "run/encoder"), whole(pairs["modernbert"] / "generator"))


def test_the_body_of_a_classifier_is_taken(
    singles: dict[str, Path], shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shutil.copytree(singles["mlm"] / "encoder", tmp_path / "classifier")
    body = load_model(tmp_path / "classifier", ModernBertForMaskedLM).body
    network = ModernBertForSequenceClassification(body.config, num_labels=3)
    network.body.load_state_dict(body.state_dict())
    save_model(network, tmp_path / "classifier")
    start(shards, tmp_path / "run", "clm", tmp_path / "classifier", **NO_STEP)
    assert "decoder: from" in caplog.text
    assert "with a new head" in caplog.text


@pytest.mark.parametrize("kind", ["clm", "electric", "all-tokens-mlm"])
def test_a_killed_run_goes_on_without_the_folder_it_came_from(
    kind: str, pairs: dict[str, Path], shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(pairs["electra"], folder)
    sections: dict[str, Any] = {"schedule": {"num_steps": 10, "warmup_share": 0.6}}
    start(shards, tmp_path / "straight", kind, folder, **sections)
    with monkeypatch.context() as patch:
        patch.setattr("support.runs.run", lambda shards, output, **more: start(shards, output, kind, folder, **more))
        run_killed_at(8, shards, tmp_path / "killed", monkeypatch, **sections)
    shutil.rmtree(folder)
    start(shards, tmp_path / "killed", kind, folder, resume=True, **sections)
    assert_same_run(tmp_path / "killed", tmp_path / "straight")


@pytest.mark.parametrize(
    ("kind", "new"),
    [
        ("all-tokens-mlm", ("copy_gate.weight", "copy_gate.bias")),
        ("halves", ("relation_head.0.weight", "relation_head.2.bias")),
    ],
)
def test_what_is_new_is_new_every_time(kind: str, new: tuple[str, ...], pairs: dict[str, Path], shards: Path) -> None:
    """A tensor that sharing drops must not pass on its identity to one that is made after it."""
    tokenizer = open_shards(shards).tokenizer()
    overrides = settings(shards, objective={"kind": kind})
    del overrides["model"]
    config = load_recipe("tiny", {**overrides, "init_from": str(pairs["electra"])})
    found = set()
    for _ in range(40):
        objective, start = build_started(open_start(config, tokenizer, explicit={}), tokenizer)
        assert {name for name in new if name in dict(objective.named_parameters())} == set(new)
        found.add(start.new_parameters)
    assert len(found) == 1
    assert set(new) <= found.pop()


def test_what_does_not_fit_is_said_in_one_line(pairs: dict[str, Path], shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.hidden_size = 32, the folder's is 16\."):
        start(shards, tmp_path / "run", "mlm", pairs["electra"], model={"hidden_size": 32})
    frozen = {"objective": {"freeze_generator": True}}
    with pytest.raises(ConfigError, match=r'"mlm" does not read objective.freeze_generator; set it to false\.'):
        start(shards, tmp_path / "run", "mlm", pairs["electra"], **frozen)
    apart = {"embedding_sharing": "none", "share_layers": False}
    with pytest.raises(ConfigError, match=r"freeze_generator: .* has no generator"):
        start(shards, tmp_path / "run", "rtd", pairs["electra"] / "discriminator", **frozen, model=apart)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="neither a run with encoder/, discriminator/, scorer/, decoder/ or gen"):
        start(shards, tmp_path / "run", "mlm", tmp_path / "empty")
    assert not (tmp_path / "run").exists()
