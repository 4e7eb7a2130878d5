import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.networks import MODERNBERT

from electrify.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from electrify.data.tokenizer_files import from_vocabulary
from electrify.errors import CheckpointError, ConfigError, DataError
from electrify.models.checkpoint import save_model
from electrify.models.modernbert_heads import ModernBertForMaskedLM
from electrify.verbs.fill import fill


@pytest.fixture(params=["electra", "modernbert"])
def run(request: pytest.FixtureRequest, electra_run: Path, modernbert_run: Path) -> Path:
    return electra_run if request.param == "electra" else modernbert_run


def test_every_mask_has_its_candidates_most_likely_first(run: Path) -> None:
    masks = fill(run / "generator", "the [MASK] eats [MASK] .", top=4)
    assert [len(candidates) for candidates in masks] == [4, 4]
    for candidates in masks:
        probabilities = [candidate.probability for candidate in candidates]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 < sum(probabilities) <= 1


def test_candidates_end_at_the_vocabulary(run: Path) -> None:
    (candidates,) = fill(run / "generator", "the [MASK]", top=1_000)
    assert len({candidate.token for candidate in candidates}) == len(candidates) == 34
    assert sum(candidate.probability for candidate in candidates) == pytest.approx(1, abs=1e-5)


def test_ids_without_a_token_are_no_candidates(tmp_path: Path) -> None:
    """A table may be larger than the vocabulary, and a vocabulary have gaps."""
    state = json.loads(from_vocabulary([*SPECIAL_TOKENS, "the", "cat", "dog"], is_cased=True).to_json())
    del state["model"]["vocab"]["cat"]
    tokenizer = Tokenizer.from_json(json.dumps(state))
    assert tokenizer.unused_ids(10) == (6, 8, 9)
    torch.manual_seed(0)
    network = ModernBertForMaskedLM(replace(MODERNBERT, vocab_size=10))
    with torch.no_grad():
        network.decoder.bias[[6, 9]] = 50.0
    save_model(network, tmp_path)
    tokenizer.save(tmp_path)
    (candidates,) = fill(tmp_path, "the [MASK]", top=20)
    assert {one.token for one in candidates} == {*SPECIAL_TOKENS, "the", "dog"}
    assert sum(one.probability for one in candidates) == pytest.approx(1, abs=1e-5)


def test_text_without_a_mask_is_an_error(run: Path) -> None:
    with pytest.raises(DataError, match=r"no \[MASK\] in the first 4 tokens.*Write \[MASK\]"):
        fill(run / "generator", "the cat")


def test_mask_beyond_the_networks_length_is_an_error(run: Path) -> None:
    with pytest.raises(DataError, match=r"no \[MASK\] in the first 32 tokens"):
        fill(run / "generator", "cat " * 40 + "[MASK]")


def test_discriminator_is_no_generator(run: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        fill(run / "discriminator", "the [MASK]")
    assert str(run / "discriminator") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fewer_than_one_candidate_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="top must be at least 1, got 0"):
        fill(run / "generator", "the [MASK]", top=0)
