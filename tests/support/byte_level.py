"""A byte-level tokenizer as of GPT-2 and ModernBERT, in which the space before a word belongs to its token."""

from collections.abc import Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from electrify.data.tokenizer import SPECIAL_TOKENS, Tokenizer


def byte_level(words: Sequence[str]) -> Tokenizer:
    """Knows all bytes and some whole words, "Ġ" standing for the space before one."""
    known = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *words]
    model = models.BPE({token: number for number, token in enumerate(known)}, [], ignore_merges=True)
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend)
