"""Learn a WordPiece vocabulary from documents, the same one from the same documents every time.

Left alone, the `tokenizers` trainer numbers the letters inside words in the order of a randomly seeded hash table and
breaks ties between equally frequent pairs by those numbers, so two runs give two vocabularies. Here both forms of every
letter get their numbers beforehand, in sorted order; what the trainer does after that depends neither on hash order nor
on the number of threads.
"""

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import models, trainers

from electrify.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from electrify.data.tokenizer_files import from_vocabulary, split_words
from electrify.errors import ConfigError, DataError

_MIN_PAIR_COUNT = 2
_COUNT_LETTERS = 1 << 20


def train_tokenizer(
    documents: Iterable[str], *, vocab_size: int, is_cased: bool, letter_coverage: float = 0.9999
) -> Tokenizer:
    """Learn a vocabulary by joining the most frequent pair of pieces again and again.

    Args:
        documents: The texts. They are gone through twice, first for the letters, so a list or an object that starts
            again at each `iter`; not a generator.
        vocab_size: Tokens to learn, special ones included. Fewer come out if the text has no more pairs.
        is_cased: Keep capitals and accents.
        letter_coverage: The most frequent letters are taken until they make up this share of the text, in (0, 1]; the
            rest become [UNK]. Letters inside words need a second, `##` form each.

    Raises:
        ConfigError: If `vocab_size` has no room for the letters of the text, or `letter_coverage` is out of range.
        DataError: If the documents hold no text.
    """
    if not 0 < letter_coverage <= 1:
        raise ConfigError(f"letter_coverage must be in (0, 1], got {letter_coverage}.")
    if iter(documents) is documents:
        raise TypeError("documents must be iterable twice; a generator is not")
    # Without special tokens of its own, so that a [MASK] written in the corpus is text.
    blank = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106  (a token of text)
    split_words(blank, is_cased=is_cased)
    alphabet = _choose_alphabet(_count_letters(documents, blank), letter_coverage)
    inner = [f"##{letter}" for letter in alphabet if _joins(blank, letter)]
    fixed = [*SPECIAL_TOKENS, *inner]
    if len(fixed) + len(alphabet) > vocab_size:
        raise ConfigError(
            f"vocab_size {vocab_size:,} is too small: the letters of this text alone need "
            f"{len(fixed) + len(alphabet):,} tokens. Give at least so many."
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_PAIR_COUNT,
        special_tokens=fixed,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    blank.train_from_iterator(documents, trainer)
    by_id = sorted(blank.get_vocab().items(), key=lambda item: item[1])
    special = set(fixed)
    learned = [token for token, _ in by_id if token not in special]
    order = [*SPECIAL_TOKENS, *learned[: len(alphabet)], *inner, *learned[len(alphabet) :]]
    return from_vocabulary(order, is_cased=is_cased)


def _count_letters(documents: Iterable[str], blank: tokenizers.Tokenizer) -> Counter[str]:
    counts: Counter[str] = Counter()
    for document in documents:
        for start in range(0, len(document), _COUNT_LETTERS):
            counts.update(blank.normalizer.normalize_str(document[start : start + _COUNT_LETTERS]))
    for letter in [letter for letter in counts if letter.isspace()]:
        del counts[letter]
    if not counts:
        raise DataError("The corpus holds no usable text: nothing to learn a vocabulary from.")
    return counts


def _choose_alphabet(counts: Counter[str], coverage: float) -> list[str]:
    needed = coverage * counts.total()
    chosen: list[str] = []
    covered = 0
    for letter, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= needed:
            break
        chosen.append(letter)
        covered += count
    return sorted(chosen)


def _joins(blank: tokenizers.Tokenizer, letter: str) -> bool:
    """Tell whether a letter can stand inside a word: punctuation and Chinese characters are words of their own."""
    word = blank.normalizer.normalize_str(f"a{letter}a")
    return len(blank.pre_tokenizer.pre_tokenize_str(word)) == 1
