"""Checks shared by the configs of the bodies: sizes are counted before anything is built on the word of a file."""

import sys

from electrify.errors import ConfigError

_HIGHEST_SIZE = 1 << 24
HIGHEST_NUM_LAYERS = 1024
_HIGHEST_ELEMENTS = 1 << 36


def check_sizes(**sizes: object) -> None:
    """Check that sizes are whole numbers of a credible height.

    Raises:
        ConfigError: If one is not an integer of at least 1, or too high.
    """
    for name, size in sizes.items():
        highest = HIGHEST_NUM_LAYERS if name == "num_hidden_layers" else _HIGHEST_SIZE
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= highest:
            raise ConfigError(f"{name} must be a whole number from 1 to {highest}, got {size!r}.")


def check_matrix(name: str, rows: int, columns: int) -> None:
    """Check that a matrix of these sizes could be meant; raises ConfigError if not."""
    if rows * columns > _HIGHEST_ELEMENTS:
        raise ConfigError(f"{name} would be {rows} × {columns}, over the limit of {_HIGHEST_ELEMENTS} elements.")


def check_heads(hidden_size: int, num_attention_heads: int, *, is_rotary: bool) -> None:
    """Check that heads divide the width evenly, and into an even size if positions are rotated; else ConfigError."""
    head_size, rest = divmod(hidden_size, num_attention_heads)
    if rest:
        raise ConfigError(f"hidden_size {hidden_size} is not a multiple of num_attention_heads {num_attention_heads}.")
    if is_rotary and head_size % 2:
        raise ConfigError(f"hidden_size / num_attention_heads must be even for rotary positions, got {head_size}.")


def check_shares(**shares: object) -> None:
    """Check dropout rates: numbers in [0, 1); raises ConfigError."""
    for name, share in shares.items():
        if not isinstance(share, int | float) or not 0 <= share < 1:
            raise ConfigError(f"{name} must be a number in [0, 1), got {share!r}.")


def check_positive(**numbers: object) -> None:
    """Check numbers that must be above 0 and finite; raises ConfigError."""
    for name, number in numbers.items():
        if not isinstance(number, int | float) or not 0 < number <= sys.float_info.max:  # NaN is neither
            raise ConfigError(f"{name} must be a finite number above 0, got {number!r}.")


def check_flags(**flags: object) -> None:
    """Check settings that are either true or false; raises ConfigError."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ConfigError(f"{name} must be true or false, got {flag!r}.")


def check_token_id(name: str, token_id: object, *, vocab_size: int) -> None:
    """Check that an id is None or in the vocabulary; raises ConfigError."""
    if token_id is None:
        return
    if not isinstance(token_id, int) or isinstance(token_id, bool) or not 0 <= token_id < vocab_size:
        raise ConfigError(f"{name} must be an id below vocab_size {vocab_size}, got {token_id!r}.")


def check_choice(name: str, value: object, *, known: str) -> None:
    """Check a setting for which only one value is built here; raises ConfigError."""
    if value != known:
        raise ConfigError(f"{name} must be {known!r}, got {value!r}: nothing else is built here.")
