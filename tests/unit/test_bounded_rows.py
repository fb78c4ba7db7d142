"""Rows of call frame information: what one may cost, and a rule for the stack pointer."""

from __future__ import annotations

import struct

import pytest
from tests.support.cfi_sections import frames_of

from usercrash.analysis.dwarf import cfi
from usercrash.analysis.dwarf.cfi import FrameSection, Row
from usercrash.analysis.unwinding.fast_steps import compile_row
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.errors import FormatError


def test_copies_by_pairs_of_remember_and_restore_are_counted() -> None:
    many = b"".join(
        b"\x05" + bytes((0x80 | number & 127, number >> 7)) + b"\1" for number in range(1, 1020)
    )
    section = frames_of(many + b"\x0a\x0b" * 1000)
    with pytest.raises(FormatError, match="remembered"):
        section.row(section.fde(_second(section)), 0x1010)


def test_a_long_program_is_refused() -> None:
    section = frames_of(b"\x0e\x08" * (1 << 16))
    with pytest.raises(FormatError, match="too long"):
        section.row(section.fde(_second(section)), 0x1010)


def _second(section: FrameSection) -> int:
    length: int = struct.unpack_from("<I", section.data, 0)[0]
    return 4 + length


@pytest.mark.parametrize("rule", [(cfi.OFFSET, -16), (cfi.SAME, 0)])
def test_a_rule_for_the_stack_pointer_is_not_for_the_fast_way(rule: cfi.Rule) -> None:
    row = Row(7, 16, None, {16: (cfi.OFFSET, -8), 7: rule}, 16, False)
    assert compile_row(row, ARCH) is row
