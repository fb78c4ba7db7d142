"""Damage to bytes, the same for the same random numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random

INTERESTING = (
    0, 1, 2, 3, 4, 7, 8, 0x10, 0x3F, 0x40, 0x7F, 0x80, 0xFF, 0x100, 0x1000, 0x7FFF, 0x8000, 0xFFFF,
    0x10000, 1 << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1,
    1 << 63, (1 << 64) - 8, (1 << 64) - 1,
)  # fmt: skip


def mutated(seeds: Sequence[bytes], random: Random, hot: int = 0) -> bytes:
    """One of the seeds with some damage; half of it within the first `hot` bytes, if given."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 2, 3, 5, 8, 16))):
        _damage(data, seeds, random, hot)
        if not data:
            break
    return bytes(data)


def _damage(data: bytearray, seeds: Sequence[bytes], random: Random, hot: int) -> None:
    end = min(hot, len(data)) if hot and random.random() < 0.5 else len(data)
    at = random.randrange(max(1, end))
    kind = random.random()
    if kind < 0.25:
        if at < len(data):
            data[at] ^= 1 << random.randrange(8)
    elif kind < 0.45:
        data[at : at + 1] = bytes((random.randrange(256),))
    elif kind < 0.75:
        letter, size = random.choice((("H", 2), ("I", 4), ("Q", 8)))
        at &= -size
        value = random.choice(INTERESTING) + random.choice((0, 0, 0, -1, 1))
        order = random.choice("<<>")
        data[at : at + size] = struct.pack(order + letter, value & (1 << 8 * size) - 1)
    elif kind < 0.80:
        del data[at:]
    elif kind < 0.85:
        del data[at : at + random.randrange(1, 64)]
    elif kind < 0.92:
        start = random.randrange(max(1, len(data)))
        data[at:at] = data[start : start + random.randrange(1, 256)]
    elif kind < 0.97:
        data[at : at + 8] = random.randbytes(random.randrange(16))
    else:
        other = random.choice(seeds)
        data[at:] = other[min(at, len(other)) :]
