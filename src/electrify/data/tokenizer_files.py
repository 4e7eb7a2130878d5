"""A tokenizer from files: a published folder, a `tokenizer.json`, or a list of word pieces."""

import os
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from electrify.data.tokenizer import (
    MAX_WORD_LETTERS,
    PIECE_PREFIX,
    SPECIAL_TOKENS,
    Tokenizer,
    in_order,
    require_special,
)
from electrify.errors import DataError
from electrify.files import read_json, read_text, refuse_outside


def load_tokenizer(path: str | Path, *, is_cased: bool | None = None) -> Tokenizer:
    """Load a tokenizer from a published folder, a `tokenizer.json` or a bare `vocab.txt`.

    Args:
        path: Folder with tokenizer.json, or with vocab.txt and perhaps tokenizer_config.json; or one of the files.
        is_cased: Whether a bare `vocab.txt` keeps capitals; None means what tokenizer_config.json beside it says, and
            uncased without one. A `tokenizer.json` says so itself.

    Raises:
        DataError: If there is no tokenizer, it is broken, or a special token is missing.
    """
    path = Path(path)
    if path.is_dir():
        for name in ("tokenizer.json", "vocab.txt"):
            if os.path.lexists(path / name):
                return load_tokenizer(path / name, is_cased=is_cased)
        raise DataError(f"{path}: no tokenizer.json and no vocab.txt in this folder. Make one with the verb tokenizer.")
    refuse_outside(path, error=DataError)
    text = read_text(path)
    if path.suffix == ".json":
        return Tokenizer.from_json(text, name=str(path))
    return _load_vocabulary(path, text, is_cased)


def _load_vocabulary(path: Path, text: str, is_cased: bool | None) -> Tokenizer:
    # Only line feeds end a line: vocabularies hold tokens such as U+2028, at which splitlines would cut.
    vocabulary = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    config_path = path.with_name("tokenizer_config.json")
    config = read_json(config_path) if config_path.is_file() else {}
    cased = is_cased if is_cased is not None else not config.get("do_lower_case", True)
    return from_vocabulary(
        vocabulary,
        is_cased=cased,
        strip_accents=config.get("strip_accents"),
        splits_chinese=bool(config.get("tokenize_chinese_chars", True)),
        name=str(path),
    )


def from_vocabulary(
    vocabulary: Sequence[str],
    *,
    is_cased: bool,
    strip_accents: bool | None = None,
    splits_chinese: bool = True,
    name: str = "vocabulary",
) -> Tokenizer:
    """Make BERT's WordPiece tokenizer: words at spaces, punctuation and every Chinese character, longest pieces first.

    Args:
        vocabulary: Tokens in the order of their ids; pieces inside a word begin with `##`. Of one that is there twice
            the last counts, as in Transformers, and the other ids are named "[unused0]", ….
        is_cased: Keep capitals. Otherwise letters are made small and, as in BERT, accents are removed.
        strip_accents: Remove accents whatever the case; None does it for uncased vocabularies.
        splits_chinese: Whether every Chinese character is a word.
        name: What errors call it.

    Raises:
        DataError: If a special token is missing.
    """
    require_special(set(vocabulary), name)
    last = {token: number for number, token in enumerate(vocabulary)}
    ids = {token: number for number, token in enumerate(in_order(last))}
    backend = tokenizers.Tokenizer(
        models.WordPiece(
            ids,
            unk_token="[UNK]",  # noqa: S106  (a token of text)
            continuing_subword_prefix=PIECE_PREFIX,
            max_input_chars_per_word=MAX_WORD_LETTERS,
        )
    )
    split_words(backend, is_cased=is_cased, strip_accents=strip_accents, splits_chinese=splits_chinese)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    backend.decoder = decoders.WordPiece(prefix=PIECE_PREFIX)
    return Tokenizer(backend, name=name)


def split_words(
    backend: tokenizers.Tokenizer, *, is_cased: bool, strip_accents: bool | None = None, splits_chinese: bool = True
) -> None:
    """Make a tokenizer clean text and split it into words as BERT does; see `from_vocabulary`."""
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=splits_chinese, strip_accents=strip_accents, lowercase=not is_cased
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
