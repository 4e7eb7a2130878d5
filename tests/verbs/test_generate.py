"""Texts are continued by what the softmax says, cut and sharpened as asked, the same for the same seed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from support.byte_level import byte_level
from support.networks import MODERNBERT
from support.runs import BODIES, run, settings

from electrify import cli
from electrify.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from electrify.data.tokenizer_files import from_vocabulary, load_tokenizer
from electrify.errors import CheckpointError, ConfigError, DataError
from electrify.models.causal_heads import ModernBertDecoderForCausalLM
from electrify.models.checkpoint import save_model
from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.verbs.detect import detect
from electrify.verbs.fill import fill
from electrify.verbs.generate import choose, fill_in, generate
from electrify.verbs.loading import load_writer
from electrify.verbs.pretrain import pretrain


@pytest.fixture(scope="module")
def decoders(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("decoders")
    for body in BODIES:
        run(shards, folder / body, body=body, objective={"kind": "clm"})
    return {body: folder / body / "decoder" for body in BODIES}


@pytest.mark.parametrize("body", BODIES)
def test_temperature_zero_takes_the_most_likely_token_each_time(body: str, decoders: dict[str, Path]) -> None:
    folder = decoders[body]
    network, tokenizer = load_writer(folder), load_tokenizer(folder)
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


def decoder_that_writes(token: str, tokenizer: Tokenizer, folder: Path, *, num_ids: int = 0) -> Path:
    """A network of random values for which one token is always the likeliest."""
    size = num_ids or tokenizer.vocab_size
    torch.manual_seed(0)
    network = ModernBertDecoderForCausalLM(replace(MODERNBERT, vocab_size=size))
    with torch.no_grad():
        network.decoder.bias[tokenizer.token_ids([token])[0]] = 50.0
        network.decoder.bias[tokenizer.vocab_size :] = 99.0
    save_model(network, folder)
    tokenizer.save(folder)
    return folder


PIECES = from_vocabulary([*SPECIAL_TOKENS, "the", "dog", "play", "##ing", "cat"], is_cased=False)


@pytest.mark.parametrize(
    ("prompt", "token", "text", "whole"),
    [
        ("The dog play", "##ing", "ing", "The dog playing"),
        ("The dog", "play", " play", "The dog play"),
        ("The dog\n", "play", " play", "The dog\nplay"),
        ("The dog play ", "##ing", "ing", "The dog playing"),
        ("", "dog", "dog", "dog"),
    ],
)
def test_the_seam_is_that_of_the_tokenizer(prompt: str, token: str, text: str, whole: str, tmp_path: Path) -> None:
    result = generate(decoder_that_writes(token, PIECES, tmp_path), prompt, max_tokens=1, temperature=0)
    assert (result.text, result.whole) == (text, whole)


@pytest.mark.parametrize(
    ("prompt", "token", "whole"),
    [("the play", "Ġdog", "the play dog"), ("the play", "ing", "the playing"), ("the ", "dog", "the dog")],
)
def test_byte_level_tokens_bring_their_own_spaces(prompt: str, token: str, whole: str, tmp_path: Path) -> None:
    folder = decoder_that_writes(token, byte_level(["Ġdog", "dog", "ing"]), tmp_path)
    assert generate(folder, prompt, max_tokens=1, temperature=0).whole == whole


def test_ids_without_a_token_are_never_written(tmp_path: Path) -> None:
    folder = decoder_that_writes("dog", PIECES, tmp_path, num_ids=PIECES.vocab_size + 7)
    assert generate(folder, "the", max_tokens=2, temperature=0).tokens == ["dog", "dog"]
    assert generate(folder, "the", max_tokens=2, seed=3).tokens == ["dog", "dog"]


def test_temperature_next_to_zero_takes_the_most_likely_token() -> None:
    scores = torch.tensor([[1.0, 2.0, 9.0, -torch.inf]])
    for temperature in (1e-20, 1e-38, 1e-40, 5e-324):
        assert choose(scores, torch.tensor([5]), temperature=temperature, top_p=1.0).tolist() == [2]


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
    assert out.startswith(f"the cat{expected.text}".strip())
    assert json.loads(out[out.index("{") :])["tokens"] == expected.tokens


@pytest.fixture(scope="module")
def seq2seq(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has begun to learn to fill in and to copy."""
    folder = tmp_path_factory.mktemp("seq2seq") / "run"
    run(
        shards,
        folder,
        model={"hidden_size": 32, "intermediate_size": 64},
        masking={"mask_prob": 0.15, "mean_span_tokens": 1.5},
        objective={"kind": "span", "copy_share": 0.25},
        optimizer={"learning_rate": 5e-3},
        schedule={"num_steps": 300},
        training={"batch_size": 32},
        evaluation={"every_steps": 300, "num_rows": 39},
        checkpoint={"every_steps": 300},
    )
    return folder / "encoder_decoder"


@pytest.mark.parametrize(
    "prompt",
    ["the cat <extra_id_0> in the house and eats <extra_id_1> .", "the owl hoots in the forest and eats mice .", ""],
)
def test_an_encoder_decoder_writes_what_it_writes_in_transformers(prompt: str, seq2seq: Path) -> None:
    result = generate(seq2seq, prompt, temperature=0, max_tokens=20)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(seq2seq)
    tokenizer = transformers.AutoTokenizer.from_pretrained(seq2seq)
    written = theirs.generate(**tokenizer(prompt, return_tensors="pt"), max_new_tokens=20, do_sample=False)[0]
    has_ended = written[-1] == tokenizer.sep_token_id
    assert tokenizer.convert_ids_to_tokens(written)[1 : -1 if has_ended else None] == result.tokens
    assert result.ended_by == ("end of text" if has_ended else "max_tokens")


def test_hidden_spans_are_filled_in(seq2seq: Path) -> None:
    result = generate(seq2seq, "the cat <extra_id_0> in the house and eats <extra_id_1> .", temperature=0)
    assert result.tokens[0] == "<extra_id_0>"
    spans = re.match(r"<extra_id_0> (.+?) <extra_id_1> (.+?)( <extra_id|$)", result.text)
    assert spans is not None
    assert result.whole == f"the cat {spans[1]} in the house and eats {spans[2]} ."


def test_what_has_no_sentinel_is_turned_into_a_text(seq2seq: Path) -> None:
    result = generate(seq2seq, "the owl hoots in the forest and eats mice .", temperature=0)
    assert result.whole == result.text
    assert "<extra_id" not in result.whole


def test_the_last_sentinel_has_the_last_id(seq2seq: Path) -> None:
    assert load_tokenizer(seq2seq).token_ids(["<extra_id_99>"]) == (load_writer(seq2seq).config.vocab_size - 1,)


def test_sentinels_without_an_answer_stay(seq2seq: Path) -> None:
    tokenizer = load_tokenizer(seq2seq)
    written = tokenizer.token_ids(["cat", "<extra_id_1>", "fish", "bones", "<extra_id_7>", "<extra_id_1>", "mice"])
    filled = fill_in("the <extra_id_0> eats <extra_id_1> .", written, tokenizer)
    assert filled == "the <extra_id_0> eats fish bones ."


def test_spans_join_the_words_before_them() -> None:
    pieces = from_vocabulary([*SPECIAL_TOKENS, "the", "dog", "play", "##ing", "##s"], is_cased=False)
    tokenizer = pieces.with_special_tokens(["<extra_id_0>", "<extra_id_1>"])
    written = tokenizer.token_ids(["<extra_id_0>", "##ing", "<extra_id_1>", "dog", "##s"])
    assert fill_in("The dog play<extra_id_0> .", written, tokenizer) == "The dog playing ."
    assert fill_in("Play <extra_id_0>\n <extra_id_1> !", written, tokenizer) == "Playing\n dogs !"
    assert fill_in("the<extra_id_1>", written, tokenizer) == "the dogs"


def test_an_encoder_decoder_keeps_its_length_too(seq2seq: Path) -> None:
    result = generate(seq2seq, "", max_tokens=100, temperature=5.0, seed=2)
    assert len(result.tokens) <= 31
    with pytest.raises(DataError, match="the model reads only 32"):
        generate(seq2seq, "cat " * 40)


def test_an_encoder_decoder_does_no_other_job(seq2seq: Path) -> None:
    with pytest.raises(CheckpointError, match="is no masked language model"):
        fill(seq2seq, "the [MASK]", top=1)
    with pytest.raises(CheckpointError, match="is no token detector"):
        detect(seq2seq, ["the cat"])


def test_no_pair_of_networks_starts_from_an_encoder_decoder(seq2seq: Path, shards: Path, tmp_path: Path) -> None:
    overrides = {**settings(shards), "init_from": str(seq2seq)}
    with pytest.raises(CheckpointError, match="holds a T5 network"):
        pretrain("tiny", output=tmp_path / "run", overrides=overrides)
