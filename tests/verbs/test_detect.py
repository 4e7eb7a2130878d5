from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.byte_level import byte_level
from support.corpora import sentence
from support.networks import MODERNBERT

from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import CheckpointError
from electrify.models.checkpoint import save_model
from electrify.models.inputs import Inputs
from electrify.models.modernbert_heads import ModernBertForPreTraining
from electrify.verbs.detect import detect
from electrify.verbs.loading import load_discriminator


@pytest.fixture(params=["electra", "modernbert"])
def run(request: pytest.FixtureRequest, electra_run: Path, modernbert_run: Path) -> Path:
    return electra_run if request.param == "electra" else modernbert_run


def test_every_token_has_its_place_and_its_probability(run: Path) -> None:
    text = "the  cat meows."
    (detection,) = detect(run / "discriminator", [text])
    assert [score.token for score in detection.tokens] == ["the", "cat", "meows", "."]
    assert [text[score.start : score.end] for score in detection.tokens] == ["the", "cat", "meows", "."]
    ids = load_tokenizer(run / "discriminator").encode([text], max_length=32)[0].input_ids
    logits = load_discriminator(run / "discriminator")(Inputs(torch.tensor([ids])))[0, 1:-1]
    assert [score.probability for score in detection.tokens] == pytest.approx(logits.sigmoid().tolist())


def test_byte_level_tokens_begin_behind_the_space(tmp_path: Path) -> None:
    tokenizer = byte_level(["the", "Ġdog"])
    save_model(ModernBertForPreTraining(replace(MODERNBERT, vocab_size=tokenizer.vocab_size)), tmp_path)
    tokenizer.save(tmp_path)
    (detection,) = detect(tmp_path, ["the dog"])
    assert [(one.token, one.start, one.end) for one in detection.tokens] == [("the", 0, 3), ("Ġdog", 4, 7)]


def test_texts_do_not_change_each_other(run: Path) -> None:
    together = detect(run / "discriminator", [sentence(0), "the cow"])
    assert together == [detect(run / "discriminator", [text])[0] for text in (sentence(0), "the cow")]


def test_unknown_words_are_judged_and_special_tokens_are_not(run: Path) -> None:
    (detection,) = detect(run / "discriminator", ["the zebra [SEP] meows"])
    assert [score.token for score in detection.tokens] == ["the", "[UNK]", "meows"]


def test_text_longer_than_the_network_takes_is_cut_and_counted(run: Path) -> None:
    (detection,) = detect(run / "discriminator", ["cat " * 40])
    assert (len(detection.tokens), detection.num_cut) == (30, 10)  # of 32 positions two are [CLS] and [SEP]


def test_empty_text_has_no_tokens(run: Path) -> None:
    assert detect(run / "discriminator", [""])[0].tokens == []


def test_generator_is_no_discriminator(run: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        detect(run / "generator", ["the cat"])
    assert str(run / "generator") in str(caught.value)
    assert "\n" not in str(caught.value)
