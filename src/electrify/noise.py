"""Random numbers as pure functions of what they are for.

Which positions are masked, what the generator draws and what dropout drops are hashes of (seed, step, row, position).
No generator's state exists that could be lost on a restart, and a row gets the same numbers whichever process, device
or micro-batch works on it.

A key is folded either with streams or with one kind of number that is counted (places, draws, words, networks): what
is counted stands behind a stream of its own. Else the second draw of a row would have the key of stream 1, and two
choices the same random number.

The 64-bit mixer is SplitMix64 (Steele, Lea, Flood 2014); the 32-bit one, for dropout, is the finalizer of MurmurHash3
(Appleby 2011) with the key put in twice, so that two keys never give shifted copies of one sequence.
"""

import torch
from torch import Tensor

MASKED_POSITIONS, SHOWN_AS_MASK, SAMPLES, DROPOUT = 1, 2, 3, 4
NETWORKS, DRAWS, LAYERS = 11, 12, 13
RANDOM_TOKENS, CAUSAL_ROWS = 101, 102
SPAN_LENGTHS, SPAN_PLACES, COPIED_ROWS, SPAN_CUTS = 201, 202, 203, 204
CROPS, HALVES, OTHER_ROWS, PIECES = 301, 302, 303, 304
"""Streams: numbers for different purposes never come from the same key."""


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


_GAMMA = _signed(0x9E3779B97F4A7C15, 64)
_MIX_1 = _signed(0xBF58476D1CE4E5B9, 64)
_MIX_2 = _signed(0x94D049BB133111EB, 64)
_GAMMA_32 = _signed(0x9E3779B1, 32)
_MIX_1_32 = _signed(0x85EBCA6B, 32)
_MIX_2_32 = _signed(0xC2B2AE35, 32)


def _shift(values: Tensor, places: int) -> Tensor:
    """Shift right without copying the sign bit; (…) int32 or int64."""
    bits = torch.iinfo(values.dtype).bits
    return (values >> places) & ((1 << (bits - places)) - 1)


def fold(keys: Tensor, values: Tensor | int) -> Tensor:
    """Derive new keys from keys and values; broadcasts.

    Args:
        keys: (…) int64.
        values: (…) int64 or one number, such as a position or a stream.

    Returns:
        Keys that are different, and look unrelated, for every pair; (…) int64.
    """
    spread = _signed(values * _GAMMA, 64) if isinstance(values, int) else values * _GAMMA
    x = (keys ^ spread) + _GAMMA
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def row_keys(seed: int, step: int, rows: Tensor) -> Tensor:
    """Return one key for each row that a step works on.

    Args:
        seed: The run's seed.
        step: Optimizer steps already taken.
        rows: Row numbers in the data set, (B,) int64.

    Returns:
        Keys, (B,) int64.
    """
    seed_key = fold(torch.zeros_like(rows), seed)
    return fold(fold(seed_key, step), rows)


def network_keys(keys: Tensor, network: int) -> Tensor:
    """Derive the keys of dropout in one of an objective's networks.

    Args:
        keys: One key a row, (B,) int64.
        network: Its number, from 1; sites of dropout are numbered within a network.
    """
    return fold(fold(keys, NETWORKS), network)


def uniform(keys: Tensor) -> Tensor:
    """Return numbers in (0, 1) with 52 random bits, (…) float64; with 53 the highest would be rounded to 1."""
    return (_shift(keys, 12).double() + 0.5) * 2.0**-52


def keep_mask(keys: Tensor, shape: torch.Size, *, drop_prob: float, site: int) -> Tensor:
    """Choose what dropout keeps; the same for a token however far its row is padded.

    One hash decides about two neighbours on the last axis, with 16 bits each: shares are exact to 1 / 2^17.

    Args:
        keys: One key a row, (B,) int64.
        shape: Shape of the tensor that is thinned out; its first size is B.
        drop_prob: Share that is dropped, in [0, 1).
        site: Number of the place in the network, so that two places drop different elements.

    Returns:
        True where kept, `shape` bool.
    """
    size = (list(shape[1:]) or [1])[-1]
    site_keys = fold(fold(keys, DROPOUT), site).view(-1, *[1] * max(1, len(shape) - 1))
    key_1, key_2 = site_keys.to(torch.int32), (site_keys >> 32).to(torch.int32)
    x = _pair_numbers(shape, device=keys.device) * _GAMMA_32 + key_1
    x = ((x ^ _shift(x, 16)) ^ key_2) * _MIX_1_32
    x = (x ^ _shift(x, 13)) * _MIX_2_32
    x = x ^ _shift(x, 16)
    halves = torch.stack([x & 0xFFFF, _shift(x, 16)], dim=-1).flatten(-2)[..., :size]
    return (halves >= min(int(drop_prob * 2**16 + 0.5), 2**16 - 1)).view(shape)


def _pair_numbers(shape: torch.Size, *, device: torch.device) -> Tensor:
    """Number the pairs of neighbours in a row, (1, …, ⌈H / 2⌉) int32, by places on axes and not by the axes' sizes.

    Different for all pairs of (T, H) and (A, T, T) with H and T up to 8192.
    """
    *others, size = list(shape[1:]) or [1]
    numbers = torch.arange((size + 1) // 2, dtype=torch.int32, device=device).view(*[1] * max(1, len(shape) - 1), -1)
    for axis, count in enumerate(reversed(others), start=1):
        places = torch.arange(count, dtype=torch.int32, device=device).view(count, *[1] * axis)
        numbers = numbers + places * (1 << (13 * axis - 1))
    return numbers
