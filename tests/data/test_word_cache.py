"""The ids are the tokenizer's own, whatever the text."""

import unicodedata
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models, normalizers, pre_tokenizers

from electrify.data import word_cache
from electrify.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from electrify.data.tokenizer_files import from_vocabulary
from electrify.data.word_cache import WordCache, cuts_like_bert

PLAIN = [chr(code) for code in range(33, 127)] + list("äößéàçñşиймαάσςあが中文字한국กา😀，。“”…¿")
VOCABULARY = [*SPECIAL_TOKENS, *PLAIN, *[f"##{letter}" for letter in PLAIN], "the", "The", "##the", "##ing", "a\u0301"]
SPACES = [chr(code) for code in range(0x110000) if chr(code).isspace() or unicodedata.category(chr(code))[0] == "Z"]
INVISIBLE = [*"\x00\x01\x7f\x80\x85\xad\u200b\u200d\u200e\u2028\u2060\ufeff\ufffd\ufffe\U000e0001\ue000\u0378"]
COMPOSED = [
    letter
    for letter in map(chr, range(0x110000))
    if any(mark < "\x80" for mark in unicodedata.normalize("NFD", letter) if not mark.isalnum()) and letter > "\x7f"
]
MARKS = [*"\u0301\u0308\u0327\u0338\u05b0\u0e34\u20dd\u3099"]
ODD = ["^", "~", "|", "İ", "ẞ", "ﬁ", "Σ", "㍿", "豈", "\U00020000"]
TRAPS = [*SPACES, *INVISIBLE, *COMPOSED, *MARKS, *SPECIAL_TOKENS, *ODD]
WORDS = ["the", "The", "theing", "don't", "x" * 64, "x" * 65, "x" * 101, "中文字", "“The”", "한국"]

pieces = st.sampled_from([*TRAPS, *WORDS, *PLAIN])
spaced = st.lists(pieces | st.sampled_from([" ", "\n", " "]) | st.characters(codec="utf-8"), max_size=60)
unbroken = st.lists(st.sampled_from([*PLAIN, *WORDS, *MARKS, *INVISIBLE, *COMPOSED, *ODD]), min_size=17, max_size=60)
texts = (spaced | unbroken).map("".join)


def build(*, is_cased: bool, strip_accents: bool | None = None, vocabulary: list[str] = VOCABULARY) -> Tokenizer:
    return from_vocabulary(vocabulary, is_cased=is_cased, strip_accents=strip_accents)


def ids(tokenizer: Tokenizer, batch: list[str]) -> list[list[int]]:
    return [one.tolist() for one in tokenizer.encode_corpus(batch)]


TOKENIZERS = {
    "uncased": build(is_cased=False),
    "cased": build(is_cased=True),
    "cased without accents": build(is_cased=True, strip_accents=True),
    "without separators": build(is_cased=False, vocabulary=[one for one in VOCABULARY if one not in "^~|"]),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=400, deadline=None)
@given(batch=st.lists(texts, max_size=4))
def test_ids_are_those_of_the_tokenizer(name: str, batch: list[str]) -> None:
    assert ids(TOKENIZERS[name], batch) == TOKENIZERS[name].encode_plain(batch)


@pytest.mark.parametrize("clean_text", [True, False])
@pytest.mark.parametrize("handle_chinese_chars", [True, False])
@settings(max_examples=200, deadline=None)
@given(batch=st.lists(texts, max_size=4))
def test_ids_are_those_of_tokenizers_with_other_settings(
    clean_text: bool, handle_chinese_chars: bool, batch: list[str]
) -> None:
    backend = tokenizers.Tokenizer.from_str(build(is_cased=False).to_json())
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=clean_text, handle_chinese_chars=handle_chinese_chars, strip_accents=None, lowercase=True
    )
    tokenizer = Tokenizer(backend)
    assert ids(tokenizer, batch) == tokenizer.encode_plain(batch)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_letter_alone_and_between_others_gives_the_same_ids(name: str) -> None:
    letters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    rows = [letters[start : start + 4096] for start in range(0, 0x30000, 4096)]  # above there are no letters but tags
    batch = (
        [f"x{'x x'.join(row)}x" for row in rows] + ["中".join(row) for row in rows] + [".".join(row) for row in rows]
    )
    tokenizer = TOKENIZERS[name]
    for text in batch:
        assert ids(tokenizer, [text]) == tokenizer.encode_plain([text])


def test_a_full_cache_is_emptied_and_the_ids_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "_MAX_WORDS", 5)
    tokenizer = build(is_cased=False)
    batch = ["the a b c", "d e the f", "a b c the", "the theing"]
    for text in batch * 2:
        assert ids(tokenizer, [text]) == tokenizer.encode_plain([text])


def test_more_new_words_than_one_call_takes() -> None:
    tokenizer = build(is_cased=False)
    text = " ".join(f"{number}a" for number in range(2_500)) + " x^y"
    assert ids(tokenizer, [text]) == tokenizer.encode_plain([text])


def test_special_tokens_in_a_corpus_stay_letters() -> None:
    assert not set(ids(build(is_cased=True), ["a [MASK][PAD] [SEP]x"])[0]) & {0, 2, 3, 4}


def test_other_tokenizers_are_left_to_themselves() -> None:
    added = tokenizers.Tokenizer.from_str(build(is_cased=False).to_json())
    added.add_tokens([AddedToken("new york")])
    other = tokenizers.Tokenizer(models.BPE({token: number for number, token in enumerate(VOCABULARY)}, []))
    other.pre_tokenizer = pre_tokenizers.ByteLevel()
    for backend in (added, other):
        assert not cuts_like_bert(backend)
    tokenizer = Tokenizer(added)
    assert ids(tokenizer, ["in new york"]) == tokenizer.encode_plain(["in new york"])
    assert len(ids(tokenizer, ["new york"])[0]) == 1


class Counting:
    """A tokenizer's backend that counts the texts it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._backend = tokenizers.Tokenizer.from_str(tokenizer.to_json())
        self.num_texts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def encode_batch_fast(self, batch: list[str], **settings: bool) -> list[tokenizers.Encoding]:
        self.num_texts += len(batch)
        return self._backend.encode_batch_fast(batch, **settings)


def test_words_are_given_to_the_tokenizer_once() -> None:
    backend = Counting(build(is_cased=False))
    cache = WordCache(backend)
    first = cache.encode(["the theing the theing"])[0].tolist()
    assert backend.num_texts == 1
    assert cache.encode(["theing the"])[0].tolist() == [*first[1:3], first[0]]
    assert backend.num_texts == 1
