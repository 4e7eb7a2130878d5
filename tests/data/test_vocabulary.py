import os
import subprocess
import sys

import pytest

from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.vocabulary import train_tokenizer
from electrify.errors import ConfigError, DataError

# Many words that occur equally often, so that a vocabulary depends on how ties are broken.
TRAIN = """
import random, sys
from electrify.data.vocabulary import train_tokenizer
draw = random.Random(0)
words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyzäöü", k=draw.randint(3, 9))) for _ in range(600)]
documents = [" ".join(draw.sample(words, 200)) for _ in range(60)]
sys.stdout.write(train_tokenizer(documents, vocab_size=500, is_cased=False).to_json())
"""


def vocabulary_of(documents: list[str], **settings: object) -> set[str]:
    tokenizer = train_tokenizer(documents, **{"vocab_size": 100, "is_cased": False, **settings})
    return {tokenizer.token(number) for number in range(tokenizer.vocab_size)}


def test_same_corpus_gives_the_same_vocabulary_for_any_number_of_threads() -> None:
    results = set()
    for threads in ("1", "2", "5"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run(
            [sys.executable, "-c", TRAIN], env=environment, capture_output=True, text=True, encoding="utf-8", check=True
        )
        results.add(run.stdout)
    assert len(results) == 1
    assert '"##' in results.pop()


def test_frequent_words_become_tokens_and_special_tokens_come_first() -> None:
    tokenizer = train_tokenizer(["walking walked walks"] * 5, vocab_size=60, is_cased=False)
    assert tokenizer.special_ids == (0, 1, 2, 3, 4)
    assert [tokenizer.token(number) for number in range(5)] == list(SPECIAL_TOKENS)
    assert tokenizer.token_id("walking") is not None
    assert tokenizer.unk_id not in tokenizer.encode_plain(["walking king skal"])[0]


def test_vocabulary_never_has_more_tokens_than_asked_for() -> None:
    tokenizer = train_tokenizer(["abcdefgh bcdefgha cdefghab"] * 9, vocab_size=30, is_cased=False)
    assert tokenizer.vocab_size == 30


def test_uncased_vocabulary_has_neither_capitals_nor_accents() -> None:
    assert "É" in vocabulary_of(["Été ÉTÉ"] * 3, is_cased=True)
    uncased = vocabulary_of(["Été ÉTÉ"] * 3)
    assert "ete" in uncased
    assert not uncased & set("ÉéE")


def test_chinese_characters_have_one_form_and_letters_have_two() -> None:
    vocabulary = vocabulary_of(["中文 ab!"] * 3)
    assert {"中", "文", "a", "##a", "!"} <= vocabulary
    assert not {"##中", "##!"} & vocabulary


def test_rare_letters_are_left_out_by_coverage() -> None:
    documents = ["abab" * 1_000, "ω"]
    assert "ω" not in vocabulary_of(documents, letter_coverage=0.99)
    assert "ω" in vocabulary_of(documents, letter_coverage=1.0)


def test_special_tokens_written_in_the_corpus_change_nothing() -> None:
    assert "mask" in vocabulary_of(["a [MASK] b [MASK]"] * 9)


@pytest.mark.parametrize("documents", [[], ["", "  \n"]])
def test_corpus_without_text_is_an_error(documents: list[str]) -> None:
    with pytest.raises(DataError, match="no usable text"):
        train_tokenizer(documents, vocab_size=100, is_cased=False)


def test_vocabulary_too_small_for_the_letters_is_an_error_with_the_number_needed() -> None:
    with pytest.raises(ConfigError, match=r"vocab_size 10 is too small.*11 tokens\. Give at least so many\."):
        train_tokenizer(["abc"], vocab_size=10, is_cased=False)


def test_coverage_out_of_range_names_the_value() -> None:
    with pytest.raises(ConfigError, match=r"1\.5"):
        train_tokenizer(["a"], vocab_size=10, is_cased=False, letter_coverage=1.5)


def test_generator_is_refused_because_it_can_be_read_only_once() -> None:
    with pytest.raises(TypeError, match="twice"):
        train_tokenizer((text for text in ["a"]), vocab_size=10, is_cased=False)
