"""Which code that was made at run time is kept for the walk along the stack."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture.made_code import made_code
from usercrash.elf.arch import arch_of
from usercrash.elf.headers import ELFCLASS64, EM_X86_64
from usercrash.model.snapshot import ThreadState
from usercrash.model.types import Tid

X86 = arch_of(EM_X86_64, ELFCLASS64)
MAPS = [
    b"400000-500000 r-xp 00000000 08:01 7                  /usr/bin/node",
    b"7f0000000000-7f0000010000 rwxp 00000000 00:00 0 ",
    b"7f0000020000-7f0000030000 rw-p 00000000 00:00 0 ",
    b"7f1000000000-7f1000001000 r-xp 00000000 00:01 9                  /memfd:jit (deleted)",
    b"7ffe00000000-7ffe00002000 r-xp 00000000 00:00 0                  [vdso]",
]


def places(words: list[int], sp: int, start: int = 0x1000, cut: int = 1 << 20) -> set[int]:
    assert X86 is not None
    data = struct.pack(f"<{len(words)}Q", *words)
    pieces = [(start, data[:cut]), (start + len(data[:cut]), data[cut:])]
    thread = ThreadState(Tid(7), Tid(7), {"rsp": sp})
    found = [*made_code([thread], MAPS, pieces, X86)]
    assert all(size == 64 for _, size, _ in found)
    return {address for address, _, _ in found}


def test_what_the_stack_points_to() -> None:
    words = [0x400010, 0x7F0000000123, 0x7F0000020010, 0x7F1000000040, 0x7FFE00000010, 0]
    assert places(words, 0x1000) == {0x7F0000000100, 0x7F1000000020}
    assert places(words, 0x1010) == {0x7F1000000020}  # (what lies below the stack pointer is old)
    assert places(words, 0x2000) == set()


def test_code_before_the_address_is_there() -> None:
    for value in range(0x7F0000000100, 0x7F0000000140):
        (place,) = places([value], 0x1000)
        assert place <= value - 8 and value + 1 <= place + 64


def test_a_stack_in_pieces() -> None:
    words = [0x7F0000000100 + 64 * number for number in range(8)]
    assert places(words, 0x1000, cut=24) == places(words, 0x1000)
    assert len(places(words, 0x1000)) == 8


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=40), st.integers(0, (1 << 64) - 1))
def test_any_words(words: list[int], sp: int) -> None:
    places(words, sp)
