import random

import pytest

from electrify.models.crc32c import crc32c, mask


def bit_by_bit(data):
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data, expected):  # RFC 3720, appendix B.4
    assert crc32c(data) == expected


@pytest.mark.parametrize("length", [1, 3, 511, 512 * 32 - 1, 512 * 32, 512 * 33 + 1, 512 * 63, 512 * 64 + 511])
def test_lanes_of_every_number_give_what_bit_by_bit_gives(length):
    data = random.Random(length).randbytes(length)
    assert crc32c(data) == bit_by_bit(data)
    assert crc32c(memoryview(data)) == bit_by_bit(data)


def test_mask_is_leveldbs():  # util/crc32c.h: rotate right by 15, add a constant
    assert mask(0) == 0xA282EAD8
    assert mask(0x8000) == 0xA282EAD9
    assert mask(1) == (0xA282EAD8 + (1 << 17)) & 0xFFFFFFFF
