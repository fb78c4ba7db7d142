"""What a process's own tables of symbols and libraries may cost while it is held."""

from __future__ import annotations

import struct
import time
from typing import cast

from usercrash.capture.interpreters import Interpreters
from usercrash.capture.link_map import find_symbol, gnu_hash, loader_ranges
from usercrash.capture.memory import Memory
from usercrash.model.notes import NoteLog

AT, DYNAMIC, TABLE, SYMBOLS, NAMES = 0x10000, 0x20000, 0x30000, 0x100000, 0x1000000
PROGRAM, ROOT, LINKS = 0x40000, 0x50000, 0x60000
MANY = 4000
NAME = b"__abort_msg"


class Counted:
    """Memory of a few pieces, and how often it was read."""

    def __init__(self, pieces: dict[int, bytes]) -> None:
        self.pieces = pieces
        self.times = 0

    def read(self, address: int, size: int) -> bytes:
        self.times += 1
        for start, data in self.pieces.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""


def hostile(right: int = -1, hashes: int = MANY) -> dict[int, bytes]:
    """A library whose symbols all have one hash, each another name; the one with the number
    `right` the wanted one. (One may make as many names of one hash as one likes.)"""
    rows = [(DYNAMIC, 0x6FFFFEF5, TABLE), (DYNAMIC, 6, SYMBOLS), (DYNAMIC, 5, NAMES)]
    code = gnu_hash(NAME) & ~1
    chain = struct.pack("<I", code) * (hashes - 1) + struct.pack("<I", code | 1)
    names = b"".join((NAME if n == right else b"stranger___").ljust(16, b"\0") for n in range(MANY))
    symbols = b"".join(struct.pack("<IBBHQQ", 16 * n, 17, 0, 5, 0x10 + n, 8) for n in range(MANY))
    return {
        DYNAMIC: b"".join(struct.pack("<QQ", tag, value) for _, tag, value in rows) + bytes(16),
        TABLE: struct.pack("<IIIIQI", 1, 0, 1, 0, 0, 0) + chain,
        SYMBOLS: symbols,
        NAMES: names,
    }


def test_symbols_of_one_hash() -> None:
    memory = Counted(hostile())
    assert find_symbol(memory.read, AT, DYNAMIC, NAME) == 0
    assert memory.times < 100
    for number in (0, 3, 7):
        assert find_symbol(Counted(hostile(number)).read, AT, DYNAMIC, NAME) == AT + 0x10 + number


def test_a_long_chain() -> None:
    """Of other hashes, as a small library may have: to its end, in a few reads."""
    pieces = hostile(right=3000)
    code = gnu_hash(NAME) & ~1
    chain = struct.pack("<I", 2) * 3000 + struct.pack("<II", code, 3) + struct.pack("<I", 2) * 9
    pieces[TABLE] = pieces[TABLE][:28] + chain
    memory = Counted(pieces)
    assert find_symbol(memory.read, AT, DYNAMIC, NAME) == AT + 0x10 + 3000
    assert memory.times < 100
    pieces[TABLE] = pieces[TABLE][:28] + struct.pack("<I", 3) + chain
    assert find_symbol(Counted(pieces).read, AT, DYNAMIC, NAME) == 0  # (its end comes before)
    pieces[TABLE] = pieces[TABLE][: 28 + 4 * 100]
    assert find_symbol(Counted(pieces).read, AT, DYNAMIC, NAME) == 0


def test_a_thousand_libraries_of_one_name() -> None:
    pieces = hostile(right=5)
    count, size = 1000, 40
    pieces |= {
        PROGRAM: struct.pack("<IIQQQQQQ", 2, 6, 0, PROGRAM + 0x100, 0, 32, 32, 8),
        PROGRAM + 0x100: struct.pack("<QQQQ", 21, ROOT, 0, 0),
        ROOT: struct.pack("<IIQQIIQQ", 1, 0, LINKS, 0, 0, 0, 0, 0),
        ROOT + 0x100: b"/lib/libc.so.6\0".ljust(128, b"\0"),
        LINKS: b"".join(
            struct.pack("<5Q", AT + n, ROOT + 0x100, DYNAMIC, LINKS + (n + 1) * size, 0)
            for n in range(count)
        ),
        AT: bytes(8192),
    }
    found = list(loader_ranges({3: PROGRAM, 4: 56, 5: 1}, Counted(pieces).read, 8))
    assert sum(reason == "link_map" for _, _, reason in found) == count
    assert 0 < sum(reason == "__abort_msg" for _, _, reason in found) <= 16


def test_no_symbol_is_looked_for_when_the_time_is_over() -> None:
    """A program may call a hundred of its files interpreters."""
    memory = Counted(hostile(right=5) | {AT: b"\x7fELF" + bytes(4092)})
    looked = Interpreters(cast(Memory, memory), NoteLog())
    looked._begin()
    looked._end = time.monotonic() - 1
    assert looked._symbol(AT, NAME) == 0
    assert memory.times == 0
