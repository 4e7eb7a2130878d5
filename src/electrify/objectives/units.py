"""Words and spans that are masked together, with the number of masked tokens of a row still exact.

Every token gets a time, the same for all tokens of a unit; a row's tokens are chosen in the order of time and place
until there are as many as asked for. So the last word or span of a row may be cut, at most one a row, and no row has
one token more or less than with single tokens. All times are functions of a row's key and its own tokens.

Whole words: note of May 2019 in the repository of BERT. Spans: Joshi et al. 2020 (SpanBERT), section 3.1: lengths in
whole words are geometric with p = 0.2, none longer than 10 (so 3.8 on average), starts are uniform over
words. Two spans never have one start here; they may overlap or touch, and none crosses a special token.
"""

import math

import torch
from torch import Tensor

from electrify.config import MaskingConfig
from electrify.noise import MASKED_POSITIONS, SPAN_LENGTHS, fold, uniform

_NEVER = 2.0  # later than all times, which are in (0, 1)


def draw_units(
    is_candidate: Tensor, counts: Tensor, keys: Tensor, *, continues: Tensor, config: MaskingConfig
) -> tuple[Tensor, Tensor]:
    """Draw whole words, or spans of them.

    Args:
        is_candidate: (B, T) bool.
        counts: How many tokens to draw in each row, (B,) int64.
        keys: One key a row, (B,) int64.
        continues: Tokens that continue the word of the token before them, (B, T) bool.
        config: Says which, and how long spans are.

    Returns:
        Rows and columns of the positions in row-major order, each (P,) int64.
    """
    words, starts = number_words(is_candidate, continues)
    times = uniform(fold(fold(keys, MASKED_POSITIONS)[:, None], torch.arange(words.shape[1], device=keys.device)))
    if config.unit == "span":
        times = _span_times(times, _segments(words, starts, is_candidate), keys, config=config)
    order = times.gather(1, words).masked_fill(~is_candidate, _NEVER).argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(words.shape[1], device=keys.device).expand_as(order))
    rows, columns = torch.nonzero(rank < counts[:, None], as_tuple=True)
    return rows, columns


def number_words(is_candidate: Tensor, continues: Tensor) -> tuple[Tensor, Tensor]:
    """Number the words of each row from 0.

    Args:
        is_candidate: (B, T) bool; other tokens end a word.
        continues: (B, T) bool.

    Returns:
        The number of each token's word, (B, T) int64, without meaning where there is no candidate; and where words
        begin, (B, T) bool.
    """
    after_candidate = torch.zeros_like(is_candidate)
    after_candidate[:, 1:] = is_candidate[:, :-1]
    starts = is_candidate & ~(continues & after_candidate)
    return (starts.cumsum(1) - 1).clamp(min=0), starts


def draw_lengths(keys: Tensor, shape: torch.Size, *, config: MaskingConfig) -> Tensor:
    """Draw the length in words of a span at each word, (B, W) int64: geometric, but never above the longest."""
    numbers = torch.arange(shape[1], device=keys.device)
    shares = uniform(fold(fold(keys, SPAN_LENGTHS)[:, None], numbers))  # (B, W)
    fail = 1 - config.span_stop_prob
    lengths = 1 + torch.floor(torch.log1p(-shares * (1 - fail**config.max_span_words)) / math.log(fail)).long()
    return lengths.clamp(max=config.max_span_words)


def _segments(words: Tensor, starts: Tensor, is_candidate: Tensor) -> Tensor:
    """Return how many tokens that can not be chosen stand before each word, (B, W)."""
    before = (~is_candidate).cumsum(1)
    places = torch.where(starts, words, words.shape[1])  # what is no start goes to one place more
    found = before.new_full((words.shape[0], words.shape[1] + 1), -1)
    return found.scatter_(1, places, before)[:, :-1]


def _span_times(times: Tensor, segments: Tensor, keys: Tensor, *, config: MaskingConfig) -> Tensor:
    """Return for each word the time of the earliest span that covers it, (B, W)."""
    lengths = draw_lengths(keys, times.shape, config=config)
    earliest = times.clone()  # each word's own span covers it
    for distance in range(1, min(config.max_span_words, times.shape[1])):
        covers = (lengths[:, :-distance] > distance) & (segments[:, :-distance] == segments[:, distance:])
        reached = times[:, :-distance].masked_fill(~covers, _NEVER)
        earliest[:, distance:] = torch.minimum(earliest[:, distance:], reached)
    return earliest
