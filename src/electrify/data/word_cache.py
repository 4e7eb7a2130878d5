"""Token ids of a corpus, for which every different word is given to the tokenizer once.

A text's tokens are those of its words, one after another, wherever BERT's normaliser and pre-tokenizer always cut and
look at nothing beyond the cut. So words are looked up, and only new ones go to the tokenizer, many in one call. Nothing
of the tokenizer is repeated here but where it cuts, and of that only the safe part:

- white space that it treats as such. `str.split` also cuts at seven control characters that the normaliser removes
  *without* a cut; texts that hold one are cut at space, tab and line ends alone.
- in text without spaces, around the common Chinese ideographs and punctuation marks that its pre-tokenizer isolates.

`tests/data/test_word_cache.py` compares the ids with the tokenizer's own on hostile text.
"""

import json
import re
from collections.abc import Collection, Sequence

import numpy as np
import tokenizers
from numpy.typing import NDArray

ID_DTYPE = np.dtype("<u4")

_MAX_WORDS = 1 << 19  # about 100 MB; a full cache is emptied and fills with what is frequent now
_MAX_WORD_LETTERS = 64  # longer ones do not come again
_JOINED_WORDS = 1_000  # in one text for the tokenizer
_REMOVED = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"
_SEPARATORS = "^~|"  # no other letter's canonical decomposition or small form holds one
_SPACELESS_LETTERS = 16  # letters a word on average, above which a text is one without spaces
_BETWEEN_SPACES = re.compile(r"[^ \t\r\n]+")
_ISOLATED = "、。，！？：；“”‘’（）《》…"
_BETWEEN_IDEOGRAPHS = re.compile(rf"[\u4e00-\u9fff{_ISOLATED}]|[^ \t\r\n\u4e00-\u9fff{_ISOLATED}]+")
_BETWEEN_MARKS = re.compile(rf"[{_ISOLATED}]|[^ \t\r\n{_ISOLATED}]+")


def cuts_like_bert(backend: tokenizers.Tokenizer) -> bool:
    """Tell whether a tokenizer is WordPiece behind BERT's normaliser and pre-tokenizer, without added words."""
    state = json.loads(backend.to_str())
    kinds = [(state[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    has_added_words = any(not token["special"] for token in state["added_tokens"])
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and not has_added_words


class WordCache:
    """Encode texts with a tokenizer that `cuts_like_bert` and reads special tokens in a text as letters.

    Args:
        backend: The tokenizer, with `encode_special_tokens` set, without truncation and padding.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self._known: dict[str, bytes] = {}
        self._separator = next((one for one in _SEPARATORS if backend.token_to_id(one) is not None), None)
        is_ideograph_a_word = json.loads(backend.to_str())["normalizer"]["handle_chinese_chars"]
        self._spaceless = _BETWEEN_IDEOGRAPHS if is_ideograph_a_word else _BETWEEN_MARKS

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return the ids of each text, without special tokens; the arrays are not writable."""
        split = [self._split(text) for text in texts]
        found = [list(map(self._known.get, words)) for words in split]
        gaps = [[place for place, ids in enumerate(row) if ids is None] if None in row else [] for row in found]
        fresh = self._encode_words(
            {words[place] for words, places in zip(split, gaps, strict=True) for place in places}
        )
        for words, row, places in zip(split, found, gaps, strict=True):
            for place in places:
                row[place] = fresh[words[place]]
        self._remember(fresh)
        return [np.frombuffer(b"".join(row), dtype=ID_DTYPE) for row in found]  # type: ignore[arg-type]

    def _split(self, text: str) -> list[str]:
        words = _BETWEEN_SPACES.findall(text) if any(map(text.__contains__, _REMOVED)) else text.split()
        return words if len(text) <= _SPACELESS_LETTERS * len(words) else self._spaceless.findall(text)

    def _encode_words(self, words: Collection[str]) -> dict[str, bytes]:
        """Return the ids of words: most in a few texts with separators between them, which costs a third."""
        separator = self._separator or ""
        joined = [word for word in words if separator and separator not in word and len(word) <= _MAX_WORD_LETTERS]
        fresh: dict[str, bytes] = {}
        for start in range(0, len(joined), _JOINED_WORDS):
            fresh |= self._encode_joined(joined[start : start + _JOINED_WORDS], separator)
        alone = [word for word in words if word not in fresh]
        encodings = self._backend.encode_batch_fast(alone, add_special_tokens=False)
        return fresh | {word: _to_bytes(one.ids) for word, one in zip(alone, encodings, strict=True)}

    def _encode_joined(self, words: list[str], separator: str) -> dict[str, bytes]:
        ids = _to_bytes(self._backend.encode_batch_fast([separator.join(words)], add_special_tokens=False)[0].ids)
        borders = np.flatnonzero(np.frombuffer(ids, ID_DTYPE) == self._backend.token_to_id(separator))
        assert len(borders) == len(words) - 1, "a word without the separator became one with it"
        width = ID_DTYPE.itemsize
        starts, ends = [0, *((borders + 1) * width).tolist()], [*(borders * width).tolist(), len(ids)]
        return {word: ids[start:end] for word, start, end in zip(words, starts, ends, strict=True)}

    def _remember(self, fresh: dict[str, bytes]) -> None:
        if len(self._known) + len(fresh) > _MAX_WORDS:
            self._known.clear()
        self._known |= {word: ids for word, ids in fresh.items() if len(word) <= _MAX_WORD_LETTERS}


def _to_bytes(ids: Sequence[int]) -> bytes:
    return np.array(ids, dtype=ID_DTYPE).tobytes()
