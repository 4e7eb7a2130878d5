"""Scores are the energies of a scorer, one pass for a text; words that others give away get higher ones."""

import json
from pathlib import Path

import pytest
import torch
from support.corpora import FRAME, sentence
from support.runs import run

from electrify import cli
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import CheckpointError, ConfigError
from electrify.models.inputs import Inputs
from electrify.verbs.loading import load_discriminator
from electrify.verbs.score import score


@pytest.fixture(scope="module")
def scorer(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scorer")
    run(shards, folder / "run", objective={"kind": "electric"})
    return folder / "run" / "scorer"


def test_a_score_is_the_sum_of_energies_of_tokens_that_are_not_special(scorer: Path) -> None:
    (result,) = score(scorer, ["the cat eats ."])
    ids = load_tokenizer(scorer).encode(["the cat eats ."], max_length=32)[0].input_ids
    energies = load_discriminator(scorer)(Inputs(torch.tensor([ids])))[0, 1:-1]
    assert result.score == pytest.approx(-float(energies.detach().sum()), rel=1e-5)
    assert len(result.tokens) == len(ids) - 2


def test_words_that_the_sentence_gives_away_score_higher_than_those_that_vary(shards: Path, tmp_path: Path) -> None:
    run(
        shards,
        tmp_path / "run",
        body="modernbert",
        objective={"kind": "electric"},
        masking={"mask_prob": 0.3},
        model={"hidden_size": 32, "intermediate_size": 64},
        optimizer={"learning_rate": 3e-3},
        schedule={"num_steps": 300},
        training={"batch_size": 32},
    )
    texts = [f"{sentence(number)} {sentence((number + 1) % 6)}" for number in range(6)]
    tokens = [token for text in score(tmp_path / "run" / "scorer", texts) for token in text.tokens]
    frame, others = ([one.score for one in tokens if (one.token in FRAME) == is_frame] for is_frame in (True, False))
    assert sum(frame) / len(frame) > sum(others) / len(others) + 0.7  # the others are one of six: -1.8


def test_tokens_beyond_the_length_are_counted_and_an_empty_text_scores_nothing(scorer: Path) -> None:
    long, empty = score(scorer, ["cat " * 40, ""])
    assert (len(long.tokens), long.num_cut) == (30, 10)
    assert (empty.tokens, empty.score) == ([], 0)


def test_other_folders_are_refused(electra_run: Path) -> None:
    for role in ("discriminator", "generator"):
        with pytest.raises(CheckpointError, match="is no scorer"):
            score(electra_run / role, ["the cat"])


def test_command_shows_the_likeliest_first(scorer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["the cat", "the cat eats the dog ."]
    expected = {one.text: one.score for one in score(scorer, texts)}
    for extra in ([], ["--json"]):
        with pytest.raises(SystemExit) as end:
            cli.main(["score", str(scorer), *texts, *extra])
        assert not end.value.code
        out = capsys.readouterr().out
        if extra:
            assert [one["text"] for one in json.loads(out)] == texts
        else:
            assert out.splitlines()[0].endswith(max(expected, key=lambda text: expected[text]))


def test_tokens_that_may_be_replaced_twice_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"masking\.draw"):
        run(shards, tmp_path / "run", objective={"kind": "electric"}, masking={"draw": "with_replacement"})
