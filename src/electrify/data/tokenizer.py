"""Text to token ids and back: WordPiece by default, any published fast tokenizer by choice.

A thin wrapper over the `tokenizers` library. It adds what the library leaves open: the five special tokens are checked,
special tokens written inside a *corpus* never become special ids, saved folders open in Transformers with equal ids.
Making one of files is in `tokenizer_files`, training a vocabulary in `vocabulary`.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import xxhash
from numpy.typing import NDArray
from tokenizers import AddedToken, Encoding, models

from electrify.data.word_cache import ID_DTYPE, WordCache, cuts_like_bert
from electrify.errors import ConfigError, DataError
from electrify.files import write_json, write_text

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECE_PREFIX = "##"
MAX_WORD_LETTERS = 100  # Devlin et al. 2018 (BERT), tokenization.py: a longer word is [UNK]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text, or a pair, as a network reads it."""

    input_ids: list[int]  # [CLS] A [SEP] or [CLS] A [SEP] B [SEP]
    token_type_ids: list[int]  # 0 for the first text and the tokens around it, 1 for the second
    offsets: list[tuple[int, int]]  # characters of its own text each token stands for, no space before; special: (0, 0)
    tokens: list[str]
    num_cut: int  # tokens that did not fit into max_length


class Tokenizer:
    """A tokenizer with its five special tokens; made by `load_tokenizer`, `from_vocabulary` or `train_tokenizer`."""

    def __init__(self, backend: tokenizers.Tokenizer, *, name: str = "tokenizer") -> None:
        backend.no_truncation()
        backend.no_padding()
        require_special(backend.get_vocab(with_added_tokens=True), name)
        self._backend = backend
        ids = backend.get_vocab(with_added_tokens=True)
        self.vocab_size = max(ids.values()) + 1
        self.special_ids: tuple[int, ...] = tuple(ids[token] for token in SPECIAL_TOKENS)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = self.special_ids

    @cached_property
    def _plain_backend(self) -> tokenizers.Tokenizer:
        backend = tokenizers.Tokenizer.from_str(self._backend.to_str())
        backend.encode_special_tokens = True
        return backend

    @cached_property
    def digest(self) -> str:
        """The xxh3-128 digest of all that decides the ids, as 32 hexadecimal digits."""
        state = json.loads(self._backend.to_str())
        parts = {key: state[key] for key in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
        return xxhash.xxh3_128(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the content of `tokenizer.json`; `from_json` makes the same tokenizer of it."""
        return str(self._backend.to_str(pretty=True))

    @classmethod
    def from_json(cls, text: str, *, name: str = "tokenizer.json") -> "Tokenizer":
        """Make a tokenizer from the content of a `tokenizer.json`.

        Args:
            text: The content.
            name: What errors call it.

        Raises:
            DataError: If the content is broken or a special token is missing.
        """
        try:
            backend = tokenizers.Tokenizer.from_str(text)
        except Exception as problem:  # the library raises nothing narrower
            raise DataError(f"{name}: not a tokenizer ({problem}). Make or download it again.") from None
        return cls(backend, name=name)

    def token(self, token_id: int) -> str:
        """Return the token of an id; KeyError if there is none."""
        token: str | None = self._backend.id_to_token(token_id)
        if token is None:
            raise KeyError(token_id)
        return token

    def token_id(self, token: str) -> int | None:
        """Return the id of a token, None if it is not in the vocabulary."""
        token_id: int | None = self._backend.token_to_id(token)
        return token_id

    def token_ids(self, tokens: Sequence[str]) -> tuple[int, ...]:
        """Return the ids of tokens; KeyError if one is not in the vocabulary."""
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        return tuple(vocabulary[token] for token in tokens)

    def unused_ids(self, size: int) -> tuple[int, ...]:
        """Return the ids below `size` that no token has: of gaps, and of a network whose table is larger than this."""
        used = set(self._backend.get_vocab(with_added_tokens=True).values())
        return tuple(number for number in range(size) if number not in used)

    def with_special_tokens(self, tokens: Sequence[str]) -> "Tokenizer":
        """Return a tokenizer that also knows some special tokens; those that are new get the next ids, in order.

        Raises:
            DataError: If the ids have gaps, so that a new token would get the id of another.
        """
        if not tokens:
            return self
        backend = tokenizers.Tokenizer.from_str(self._backend.to_str())
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
        extended = Tokenizer(backend)
        for token in tokens:
            if self.token_id(token) is None and extended.token_ids([token])[0] < self.vocab_size:
                raise DataError(
                    f"tokenizer: '{token}' can not be added, as not every id below {self.vocab_size} has a token. "
                    "Give the unused ids tokens in its tokenizer.json, as [unused0]."
                )
        return extended

    @cached_property
    def continuing_ids(self) -> tuple[int, ...] | None:
        """Ids of the pieces that continue a word, as WordPiece marks them ("##ing"), sorted; None in other kinds."""
        prefix = getattr(self._backend.model, "continuing_subword_prefix", None)
        if not isinstance(self._backend.model, models.WordPiece) or not prefix:
            return None
        vocabulary = self._backend.get_vocab(with_added_tokens=False)
        return tuple(sorted(i for token, i in vocabulary.items() if token.startswith(prefix) and token != prefix))

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of token ids; word pieces are joined, special tokens left out."""
        return str(self._backend.decode(list(ids), skip_special_tokens=skip_special))

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of corpus texts, without special tokens around them and without a cut.

        Special tokens that happen to stand in the text are read as ordinary letters, so that a corpus cannot smuggle
        [MASK] or [PAD] into the training rows.
        """
        encodings = self._plain_backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    @cached_property
    def _word_cache(self) -> WordCache | None:
        return WordCache(self._plain_backend) if cuts_like_bert(self._plain_backend) else None

    def encode_corpus(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return what `encode_plain` does, as arrays; several times as fast for tokenizers that split words as BERT.

        The words seen so far are remembered, at most some 100 MB of them.
        """
        if self._word_cache:
            return self._word_cache.encode(texts)
        return [np.array(ids, dtype=ID_DTYPE) for ids in self.encode_plain(texts)]

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str | None] | None = None, *, max_length: int
    ) -> list[Encoded]:
        """Encode texts, or pairs of texts, as a network reads them.

        Special tokens inside the text are recognised, as in Transformers: `[MASK]` is a mask. Too long input loses
        tokens at the end of its longer text first.

        Args:
            texts: First or only texts.
            pairs: Second texts, as many; None among them for a text that stands alone.
            max_length: Most tokens of one example, special tokens included.

        Raises:
            ConfigError: If `max_length` leaves no room between the special tokens.
        """
        seconds = [None] * len(texts) if pairs is None else pairs
        given = [text for text in seconds if text is not None]
        shortest = 4 if given else 3
        if max_length < shortest:
            raise ConfigError(f"max_length must be at least {shortest} for this input, got {max_length}.")
        first = self._backend.encode_batch(list(texts), add_special_tokens=False)
        second = iter(self._backend.encode_batch(given, add_special_tokens=False))
        return [
            self._wrap(text, a, pair, None if pair is None else next(second), max_length)
            for text, a, pair in zip(texts, first, seconds, strict=True)
        ]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Return the ids of each word of sentences that are split into words already, without special tokens around.

        A word may have no ids, if the tokenizer drops all its characters.
        """
        encodings = self._plain_backend.encode_batch(
            [list(words) for words in sentences], is_pretokenized=True, add_special_tokens=False
        )
        result = []
        for words, encoding in zip(sentences, encodings, strict=True):
            ids: list[list[int]] = [[] for _ in words]
            for token_id, word in zip(encoding.ids, encoding.word_ids, strict=True):
                assert word is not None  # there are no special tokens
                ids[word].append(token_id)
            result.append(ids)
        return result

    def _wrap(self, text: str, a: Encoding, pair: str | None, b: Encoding | None, max_length: int) -> Encoded:
        room = max_length - (2 if b is None else 3)
        length_a, length_b = longest_first(len(a), 0 if b is None else len(b), room)
        ids = [self.cls_id, *a.ids[:length_a], self.sep_id]
        offsets = [(0, 0), *_behind_space(text, a.offsets[:length_a]), (0, 0)]
        tokens = ["[CLS]", *a.tokens[:length_a], "[SEP]"]
        types = [0] * len(ids)
        num_cut = len(a) - length_a
        if pair is not None and b is not None:
            ids += [*b.ids[:length_b], self.sep_id]
            offsets += [*_behind_space(pair, b.offsets[:length_b]), (0, 0)]
            tokens += [*b.tokens[:length_b], "[SEP]"]
            types += [1] * (length_b + 1)
            num_cut += len(b) - length_b
        return Encoded(ids, types, offsets, tokens, num_cut)

    def save(self, folder: str | Path, *, max_length: int | None = None, has_token_types: bool = True) -> None:
        """Write tokenizer.json, tokenizer_config.json and, for WordPiece, vocab.txt into an existing folder.

        `vocab.txt` has a line for each id; it is left out if most ids have no token.

        Args:
            folder: A tokenizer's own folder, or a model folder.
            max_length: Longest input of the model, in tokens; None if there is no limit.
            has_token_types: Whether the model beside it takes `token_type_ids` (ELECTRA does, ModernBERT does not).
        """
        folder = Path(folder)
        state = json.loads(self._backend.to_str())
        is_wordpiece = state["model"]["type"] == "WordPiece"
        is_bert = _is_bert(state)
        names = ["input_ids", *(["token_type_ids"] if has_token_types else []), "attention_mask"]
        config: dict[str, Any] = {
            "tokenizer_class": "BertTokenizer" if is_bert else "PreTrainedTokenizerFast",
            "model_input_names": names,
            "model_max_length": max_length or int(1e30),  # what Transformers writes for "no limit"
            "clean_up_tokenization_spaces": False,
            **{f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS},
        }
        if is_bert:
            config["do_lower_case"] = state["normalizer"]["lowercase"]
            config["strip_accents"] = state["normalizer"]["strip_accents"]
            config["tokenize_chinese_chars"] = state["normalizer"]["handle_chinese_chars"]
        write_text(folder / "tokenizer.json", self.to_json())
        write_json(folder / "tokenizer_config.json", config)
        if is_wordpiece:
            vocab = self._backend.get_vocab(with_added_tokens=True)
            if self.vocab_size <= 2 * len(vocab):  # one made to do harm could have billions of ids
                write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in in_order(vocab)))


def _behind_space(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the characters of tokens without the white space before them, which byte-level ones count to a word.

    A token of nothing but white space keeps it.
    """
    moved = []
    for start, end in offsets:
        first = start
        while first < end and text[first].isspace():
            first += 1
        moved.append((first if first < end else start, end))
    return moved


def _is_bert(state: dict[str, Any]) -> bool:
    """Return whether Transformers' `BertTokenizer` gives the same ids; it builds all but these settings anew."""
    model, normalizer = state["model"], state["normalizer"]
    kinds = [(state[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    return (
        kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]
        and (model["unk_token"], model["continuing_subword_prefix"]) == ("[UNK]", PIECE_PREFIX)
        and model["max_input_chars_per_word"] == MAX_WORD_LETTERS
        and normalizer["clean_text"]
    )


def in_order(ids: Mapping[str, int]) -> list[str]:
    """Return the tokens of a vocabulary in the order of their ids; ids without a token get names as "[unused0]"."""
    by_id = {number: token for token, number in ids.items()}
    free = (name for name in map("[unused{}]".format, count()) if name not in ids)
    return [by_id[number] if number in by_id else next(free) for number in range(max(by_id) + 1)]


def longest_first(length_a: int, length_b: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each text are kept when both together may have `room`.

    The longer text is cut to the shorter one's length first, then both to half; an odd token goes to the longer one, to
    the second if they are equal. This is the arithmetic of the `tokenizers` library (`LongestFirst`), so that long
    pairs get the ids they get in Transformers.
    """
    if length_a + length_b <= room:
        return length_a, length_b
    shorter, longer = sorted((length_a, length_b))
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return (longer, shorter) if length_a > length_b else (shorter, longer)


def require_special(vocabulary: Collection[str], name: str) -> None:
    """Raise DataError if a special token is missing from the vocabulary of what errors call `name`."""
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise DataError(
            f"{name}: the vocabulary has no {', '.join(missing)}; {', '.join(SPECIAL_TOKENS)} are needed. "
            "Add the missing ones, or train a vocabulary with the verb tokenizer."
        )
