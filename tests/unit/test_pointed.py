"""What of the memory that a stack points to is kept."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture.pointed import pointed
from usercrash.capture.procfs import MapTable
from usercrash.elf.arch.x86_64 import ARCH

HEAP, STACK, DATA, CODE = 0x1000000, 0x7FFF00000000, 0x500000, 0x400000
MAPS = MapTable(
    b"00400000-00401000 r-xp 00000000 08:01 5 /bin/app\n"
    b"00500000-00501000 r--p 00001000 08:01 5 /bin/app\n"
    b"01000000-01100000 rw-p 00000000 00:00 0 [heap]\n"
    b"7fff00000000-7fff00010000 rw-p 00000000 00:00 0 [stack]\n"
)
WHERE = (STACK, STACK + 0x10000)
Kept = list[tuple[int, int, str]]


class Fake:
    """Memory by pieces."""

    def __init__(self, pieces: dict[int, bytes]) -> None:
        self.pieces = pieces

    def read(self, address: int, size: int) -> bytes:
        for start, data in self.pieces.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""


def kept(*words: int, texts: bool = False, memory: dict[int, bytes] | None = None) -> Kept:
    stack = struct.pack(f"<{len(words)}Q", *words)
    return list(pointed(stack, WHERE, MAPS, Fake(memory or {}).read, ARCH, texts))


def covers(ranges: Kept, address: int, size: int = 8) -> bool:
    return any(start <= address and address + size <= start + length for start, length, _ in ranges)


def test_data_that_is_pointed_to() -> None:
    found = kept(0, 5, HEAP + 0x1010, CODE + 8, DATA + 8, STACK + 64, 1 << 63)
    assert len(found) == 1
    assert covers(found, HEAP + 0x1000, 64) and covers(found, HEAP + 0x1010 - 120)


def test_constants_only_for_those_that_ended_themselves() -> None:
    assert covers(kept(DATA + 8, texts=True), DATA + 8, 24)
    assert not kept(CODE + 8, texts=True)


def test_every_pointer_into_a_block_is_covered_by_it() -> None:
    """Also what lies before the first one that was met."""
    found = kept(HEAP + 0x10F8, HEAP + 0x1008)
    assert len(found) == 1 and covers(found, HEAP + 0x1008 - 120)


def test_it_is_bounded() -> None:
    many = [HEAP + 0x1000 * number for number in range(250)]
    assert len(kept(*many)) == 32
    assert len(kept(*many, *range(HEAP, HEAP + 0x80000, 512), texts=True)) == 256


def test_an_exception_is_followed_to_its_type_and_text() -> None:
    kind, name, base, text = DATA + 0x100, DATA + 0x200, DATA + 0x300, HEAP + 0x9000
    header = struct.pack("<Q", kind) + bytes(72) + b"\0++CCUNG" + bytes(24)
    thing = struct.pack("<QQ", DATA, text)
    memory = {
        HEAP: bytes(0x1000 + 128) + header + thing + bytes(512),
        kind: struct.pack("<QQQ", DATA, name, base),
        base: struct.pack("<QQQ", DATA, name + 64, 0),
    }
    found = kept(HEAP + 0x1000 + 128 + 112, texts=True, memory=memory)
    for address in (kind, name, base, name + 64, text):
        assert covers(found, address), hex(address)
    assert not covers(kept(HEAP + 0x1000 + 240, memory=memory), kind)


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=40), st.booleans(), st.binary(max_size=900))
def test_any_words(words: list[int], texts: bool, data: bytes) -> None:
    found = kept(*words, HEAP + 8, texts=texts, memory={HEAP: data})
    assert all(size > 0 for _, size, _ in found)
    assert sum(size for _, size, _ in found) <= 1 << 20


def exception(kind: int, *members: int) -> bytes:
    """`struct __cxa_exception`, from its type on, and the object."""
    return struct.pack("<10Q", kind, *[0] * 9) + b"\0++CCUNG" + bytes(24) + struct.pack(
        f"<{len(members)}Q", *members
    )  # fmt: skip


def test_exceptions_in_one_block_and_what_their_members_point_to() -> None:
    first, second = HEAP + 0x1010, HEAP + 0x10E0
    memory = {first: exception(0, 1, 2).ljust(0xD0, b"\0") + exception(0, 1, 0, HEAP + 0x9000)}
    memory = {HEAP + 0xF80: bytes(0x90) + memory[first].ljust(0x900, b"\0")}
    found = kept(first + 112, texts=True, memory=memory)
    assert covers(found, first, 112 + 16) and covers(found, second, 112 + 48)
    assert covers(found, HEAP + 0x9000, 256)


def test_many_exceptions_do_not_hold_the_process() -> None:
    """Memory full of what begins them: each leads to its members' memory, so they are counted."""
    memory = {HEAP: exception(HEAP + 0x8000, *[HEAP + 0x20000] * 2) * 4000}
    found = kept(*range(HEAP + 0x1000, HEAP + 0x80000, 0x1000), texts=True, memory=memory)
    assert sum(reason != "pointed to" for _, _, reason in found) <= 16 * (2 * 6 + 1 + 6)
