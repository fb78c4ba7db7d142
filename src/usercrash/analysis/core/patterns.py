"""What a pointer's value gives away by itself: text that overwrote it, a filler of a debugging
allocator, a number of another kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from struct import Struct

_NEAR = 0x1000  # a member's place in an object that the pattern was taken for
_DOUBLE = Struct("<d")


def looks_like_text(address: int, word: int = 8, order: str = "<") -> str:
    """The ASCII text that the bytes of an "address" of `word` bytes are, if they are text: what an
    overwritten pointer often holds. Empty otherwise."""
    data = address.to_bytes(8, "little").rstrip(b"\0")
    if order == ">":
        data = (address & (1 << 8 * word) - 1).to_bytes(word, "big").rstrip(b"\0")
        if data[:1] == b"\0":
            return ""
    if word == 4:
        # All four of them, and not as programs of 32 bits are loaded at (0x565…).
        is_text = len(data) == 4 and data.isalnum() and data[3] not in b"VW"
    else:
        is_text = len(data) >= 5 and all(0x20 <= byte < 0x7F for byte in data)
    return data.decode("ascii") if is_text else ""


_DEAD = "a debugging pattern (dead…)"
_PATTERNS = {
    0xDEADBEEF: _DEAD,
    0xDEADBEEFDEADBEEF: _DEAD,
    0xDEADC0DE: _DEAD,
    0xDEADC0DEDEADC0DE: _DEAD,
    0xBADC0FFEE0DDF00D: "a debugging pattern (badc…)",
    0xBAADF00D: "uninitialized heap (baadf00d)",
    0xBAADF00DBAADF00D: "uninitialized heap (baadf00d)",
    0xFEEEFEEE: "freed memory (0xfeee…)",
    0xFEEEFEEEFEEEFEEE: "freed memory (0xfeee…)",
    0xDEAD000000000100: "freed memory (a list's poison, next)",
    0xDEAD000000000122: "freed memory (a list's poison, previous)",
    0xDEAD000000000200: "freed memory (a list's poison, previous)",
}
# The bytes that allocators and compilers fill memory with: Microsoft's C library and Python's
# debugging allocator (0xcd, 0xdd, 0xfd), the kernel's slabs (0x6b), jemalloc (0x5a in freed memory,
# 0xa5 in new one), Firefox's (0xe5, 0xe4), mimalloc (0xdf, 0xd0), AddressSanitizer (0xbe).
_FILLERS = {
    0xFF: "−1",
    0xCC: "uninitialized (0xcc…)",
    0xCD: "uninitialized heap (0xcd…)",
    0xDD: "freed memory (0xdd…)",
    0xAB: "the guard behind a block of heap (0xab…)",
    0xFD: "the guard beside a block of heap (0xfd…)",
    0x6B: "freed memory (0x6b…)",
    0x5A: "junk-filled memory (0x5a…, as freed memory of jemalloc's)",
    0xA5: "junk-filled memory (0xa5…, as new memory of jemalloc's)",
    0xE5: "freed memory (0xe5…)",
    0xE4: "uninitialized heap (0xe4…)",
    0xDF: "freed memory (0xdf…)",
    0xD0: "uninitialized heap (0xd0…)",
    0xBE: "uninitialized memory (0xbe…)",
}
_NONE: Mapping[int, str] = {}


def pattern_words(
    value: int, word: int = 8, order: str = "<", fills: Mapping[int, str] = _NONE
) -> str:
    """What a pointer's value of `word` bytes gives away: text that overwrote it, a known filler
    (with a small distance, as that of a member), a floating-point number; or empty. `order` is
    that of bytes ("<", ">"); `fills` are the bytes that this process's allocator fills memory with,
    and what they mean."""
    text = looks_like_text(value, word, order)
    filler = _filler(value, word, fills)
    if text:
        return f'{filler}, or the text "{text}"' if filler else f'the text "{text}"'
    if filler or word != 8:
        return filler
    wide = _wide_text(value, order)
    return f'the text "{wide}" in UTF-16' if wide else _floating_point(value)


def _filler(value: int, word: int, fills: Mapping[int, str]) -> str:
    ones = ((1 << 8 * word) - 1) // 0xFF
    byte = value >> 8 * (word - 1) & 0xFF
    words = fills.get(byte) or _FILLERS.get(byte, "")
    if words and value == byte * ones:
        return words
    near = [(value - one, found) for one, found in _PATTERNS.items()]
    if words and byte != 0xFF and word == 8:
        near.append((value - byte * ones, words))
    distance, words = min(near, key=lambda one: abs(one[0]))
    if not distance:
        return words
    if abs(distance) >= _NEAR or word != 8:
        return ""
    return f"{words}, {'plus' if distance > 0 else 'minus'} {abs(distance):#x}"


def _wide_text(value: int, order: str) -> str:
    """The four characters of UTF-16 that a word is, where all are printable ASCII."""
    data = value.to_bytes(8, "little" if order == "<" else "big")
    text, zeros = (data[::2], data[1::2]) if order == "<" else (data[1::2], data[::2])
    if any(zeros) or not all(0x20 <= byte < 0x7F for byte in text):
        return ""
    return text.decode("ascii")


def _floating_point(value: int) -> str:
    """A number of double precision, where it is neither large nor small, and a round one."""
    if value & 0xFFFFFF or not -31 <= (value >> 52 & 0x7FF) - 1023 <= 31:
        return ""
    number = _DOUBLE.unpack(value.to_bytes(8, "little"))[0]
    return f"the floating-point number {number:.10g}" if math.isfinite(number) else ""
