"""Texts are continued by what the softmax says, cut and sharpened as asked, the same for the same seed."""

import json
from pathlib import Path

import pytest
import torch
from support.runs import BODIES, run

from electrify import cli
from electrify.data.tokenizer import load_tokenizer
from electrify.errors import CheckpointError, ConfigError, DataError
from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.verbs.generate import choose, generate
from electrify.verbs.loading import load_decoder


@pytest.fixture(scope="module")
def decoders(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("decoders")
    for body in BODIES:
        run(shards, folder / body, body=body, objective={"kind": "clm"})
    return {body: folder / body / "decoder" for body in BODIES}


@pytest.mark.parametrize("body", BODIES)
def test_temperature_zero_takes_the_most_likely_token_each_time(body: str, decoders: dict[str, Path]) -> None:
    folder = decoders[body]
    network, tokenizer = load_decoder(folder), load_tokenizer(folder)
    result = generate(folder, "the cat", max_tokens=4, temperature=0)
    ids = tokenizer.encode(["the cat"], max_length=32)[0].input_ids[:-1]
    for token in result.tokens:
        scores = network(Inputs(torch.tensor([ids])))[0, -1]
        scores[[one for one in tokenizer.special_ids if one != tokenizer.sep_id]] = -torch.inf
        assert tokenizer.token(int(scores.argmax())) == token
        ids.append(int(scores.argmax()))
    assert len(result.tokens) == 4 or result.ended_by == "end of text"


def test_seed_decides_the_text(decoders: dict[str, Path]) -> None:
    texts = [generate(decoders["electra"], "the", max_tokens=10, seed=seed).text for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_special_tokens_are_never_drawn_and_the_length_is_kept(decoders: dict[str, Path]) -> None:
    folder = decoders["electra"]
    special = {load_tokenizer(folder).token(one) for one in load_tokenizer(folder).special_ids}
    for seed in range(5):
        result = generate(folder, "", max_tokens=100, seed=seed)
        assert not special & set(result.tokens)
        assert len(result.tokens) <= 31  # 32 positions, one of them [CLS]
        assert result.ended_by == ("model's length" if len(result.tokens) == 31 else "end of text")


def test_frequencies_are_the_softmax_cut_at_top_p() -> None:
    scores = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    keys = row_keys(0, 0, torch.arange(20_000))
    drawn = choose(scores, keys, temperature=1.0, top_p=0.7)
    shares = torch.bincount(drawn, minlength=4) / 20_000
    assert (shares - torch.tensor([0.5, 0.3, 0, 0]) / 0.8).abs().max() < 0.015
    assert set(choose(scores, keys, temperature=1.0, top_p=1e-9).tolist()) == {0}
    sharp = torch.bincount(choose(scores, keys, temperature=0.5, top_p=1.0), minlength=4) / 20_000
    squares = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    assert (sharp - squares / squares.sum()).abs().max() < 0.015


@pytest.mark.parametrize(
    "settings", [{"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"seed": -1}]
)
def test_setting_out_of_range_is_named(settings: dict[str, float], decoders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        generate(decoders["electra"], "the", **settings)


def test_prompt_that_fills_the_model_is_refused(decoders: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="the model reads only 32"):
        generate(decoders["electra"], "cat " * 40)


def test_folder_that_is_no_decoder_is_refused(electra_run: Path) -> None:
    for role in ("generator", "discriminator"):
        with pytest.raises(CheckpointError, match="left to right"):
            generate(electra_run / role, "the")


def test_command_prints_the_continuation_or_all_about_it(
    decoders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", str(decoders["electra"]), "the cat", "--max-tokens", "3", "--temperature", "0"]
    for extra in ([], ["--json"]):
        with pytest.raises(SystemExit) as end:
            cli.main([*words, *extra])
        assert not end.value.code
    out = capsys.readouterr().out
    expected = generate(decoders["electra"], "the cat", max_tokens=3, temperature=0)
    assert out.startswith(f"the cat {expected.text}".strip())
    assert json.loads(out[out.index("{") :])["tokens"] == expected.tokens
