"""What a run publishes opens in Transformers and says the same there."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.corpora import sentence
from support.runs import BODIES, run

from electrify.data.tokenizer_files import load_tokenizer
from electrify.models.inputs import Inputs
from electrify.verbs.loading import load_discriminator, load_generator

TEXTS = [sentence(0), "the cow eats"]


@pytest.fixture(scope="module", params=[(body, kind) for body in BODIES for kind in ("none", "word", "all")], ids=str)
def published(request: pytest.FixtureRequest, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, of each body and each kind of sharing."""
    body, kind = request.param
    folder = tmp_path_factory.mktemp("published") / "run"
    run(shards, folder, body=body, model={"embedding_sharing": kind}, schedule={"num_steps": 3})
    return folder


def body_of(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text())["model_type"])


def open_theirs(folder: Path, role: str) -> Any:
    from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, AutoModelForTokenClassification

    discriminators = {"electra": AutoModelForPreTraining, "modernbert": AutoModelForTokenClassification}
    auto = AutoModelForMaskedLM if role == "generator" else discriminators[body_of(folder)]
    network, info = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info  # nothing missing, nothing superfluous, nothing of another shape
    return network.eval()


def encode_theirs(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")


def ours(folder: Path, role: str, batch: Any) -> torch.Tensor:
    network = load_generator(folder) if role == "generator" else load_discriminator(folder)
    mask = batch["attention_mask"].bool()
    return network(Inputs(batch["input_ids"], attention_mask=mask))[mask]


def test_discriminator_opens_with_equal_logits(published: Path) -> None:
    folder = published / "discriminator"
    network, batch = open_theirs(folder, "discriminator"), encode_theirs(folder)
    with torch.no_grad():
        logits = network(**batch).logits
        mine = ours(folder, "discriminator", batch)
    if body_of(folder) == "modernbert":  # two labels there: original, replaced
        assert network.config.id2label == {0: "original", 1: "replaced"}
        logits = logits[..., 1] - logits[..., 0]
    torch.testing.assert_close(mine, logits[batch["attention_mask"].bool()], rtol=1e-4, atol=1e-5)


def test_generator_opens_with_equal_logits(published: Path) -> None:
    folder = published / "generator"
    network, batch = open_theirs(folder, "generator"), encode_theirs(folder)
    with torch.no_grad():
        theirs = network(**batch).logits[batch["attention_mask"].bool()]
        torch.testing.assert_close(ours(folder, "generator", batch), theirs, rtol=1e-4, atol=1e-5)


def test_generator_fills_masks_in_a_pipeline(published: Path) -> None:
    from transformers import pipeline

    from electrify.verbs.fill import fill

    text = "the cat [MASK] in the house"
    theirs = pipeline("fill-mask", model=str(published / "generator"))(text, top_k=3)
    mine = fill(published / "generator", text, top=3)[0]
    assert [one["token_str"] for one in theirs] == [candidate.token for candidate in mine]
    assert [one["score"] for one in theirs] == pytest.approx([candidate.probability for candidate in mine], rel=1e-4)


def test_tokenizer_beside_the_network_gives_equal_ids_there(published: Path) -> None:
    folder = published / "discriminator"
    batch = encode_theirs(folder)
    encoded = load_tokenizer(folder).encode(TEXTS, max_length=32)
    for row, mask, mine in zip(batch["input_ids"], batch["attention_mask"], encoded, strict=True):
        assert row[mask.bool()].tolist() == mine.input_ids


def test_tokenizer_gives_no_input_that_the_network_does_not_name(published: Path) -> None:
    for role in ("discriminator", "generator"):
        names = json.loads((published / role / "tokenizer_config.json").read_text())["model_input_names"]
        assert set(names) <= inspect.signature(open_theirs(published / role, role).forward).parameters.keys()


def test_length_limit_is_that_of_the_network(published: Path) -> None:
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(published / "generator").model_max_length == 32


def test_folder_says_what_ran(published: Path) -> None:
    for role in ("discriminator", "generator"):
        settings = json.loads((published / role / "config.json").read_text())
        assert settings["electrify"].items() >= {"role": role, "steps": 3, "seed": 0}.items()
        card = (published / role / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: transformers\n")
        assert f"# {role.capitalize()}" in card
        assert "| optimizer.learning_rate | 0.002 |" in card


def test_card_names_the_class_that_opens_the_folder(published: Path) -> None:
    import transformers

    for role in ("discriminator", "generator"):
        card = (published / role / "README.md").read_text()
        line = next(line for line in card.splitlines() if line.startswith("model = "))
        auto = getattr(transformers, line.removeprefix("model = ").split(".")[0])
        assert type(auto.from_pretrained(published / role)) is type(open_theirs(published / role, role))
