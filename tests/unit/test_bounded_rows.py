"""Rows of call frame information: what one may cost, and a rule for the stack pointer."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

import pytest
from tests.support.cfi_sections import frames_of

from usercrash.analysis.dwarf import cfi
from usercrash.analysis.dwarf.cfi import FrameSection, Row
from usercrash.analysis.unwinding import unwind as unwind_module
from usercrash.analysis.unwinding.fast_steps import compile_row
from usercrash.analysis.unwinding.unwind import UnwindLimits, unwind
from usercrash.elf.arch import Arch
from usercrash.elf.arch.aarch64 import ARCHES
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


# --- the fast way is the slow way, only faster ---

Compile = Callable[[Row, Arch], object]
STACK, CODE = 0x7000, 0x400000
WORDS = 64


class Frames:
    """A module's frame table: a row for each place."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def row(self, pc: int) -> Row | None:
        return self.rows[(pc >> 4) % len(self.rows)]

    def at_call(self, pc: int) -> Row | None:
        return None


class Code:
    """Modules that are one piece of code, and memory that is one stack."""

    code_walk = None
    bias = 0
    elf = headers = None
    path = b"x"

    def __init__(self, rows: list[Row], stack: bytes, size: int) -> None:
        self.frames, self.stack, self.size = Frames(rows), stack, size
        self.rows: dict[int, object] = {}

    def executable(self, address: int) -> bool:
        return CODE <= address < CODE + 0x1000

    def find(self, address: int) -> Code | None:
        return self if self.executable(address) else None

    def window(self, address: int) -> tuple[int, memoryview] | None:
        return (STACK, memoryview(self.stack)) if STACK <= address < STACK + WORDS * 8 else None

    def read(self, address: int, size: int) -> bytes:
        at = address - STACK
        return self.stack[at : at + size] if 0 <= at < len(self.stack) else b""


def random_rule(some: Random) -> cfi.Rule:
    if some.random() < 0.6:
        return cfi.OFFSET, 8 * some.randint(-6, 2)
    kind = some.choice((cfi.OFFSET, cfi.VAL_OFFSET, cfi.SAME, cfi.UNDEFINED, cfi.REGISTER))
    return kind, some.randint(0, 16) if kind == cfi.REGISTER else some.randint(-40, 8)


@pytest.mark.parametrize("arch", [ARCH, ARCHES[0]], ids=lambda arch: arch.name)
def test_fast_steps_give_the_same_frames(arch: Arch) -> None:
    column, sp, fp = arch.return_column, arch.numbers[arch.sp], arch.numbers[arch.fp]
    registers = {arch.pc: CODE + 0x20, arch.sp: STACK, arch.fp: STACK + 64}

    def walk(rows: list[Row], stack: bytes, compiled: Compile) -> tuple[list[object], str]:
        code = Code(rows, stack, WORDS * 8)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(unwind_module, "compile_row", compiled)
            found = unwind(code, code, arch, registers, UnwindLimits())  # type: ignore[arg-type]
        return [(one.pc, one.sp, one.cfa, one.trust) for one in found.frames], found.end

    depths = set()
    for seed in range(600):
        some = Random(seed)
        rows = []
        for _ in range(some.randint(1, 4)):
            saved = some.sample((3, 12, sp, fp), some.randint(0, 2))
            rules = {column: (cfi.OFFSET, -8), **{one: random_rule(some) for one in saved}}
            base = some.choice((sp, sp, sp, fp))
            rows.append(Row(base, 8 * some.randint(1, 8), None, rules, column, False))
        stack = b"".join(
            struct.pack("<Q", CODE + 16 * some.randrange(256) + 1)
            if some.random() < 0.8
            else struct.pack("<Q", STACK + 8 * some.randrange(WORDS))
            for _ in range(WORDS)
        )
        fast, slow = walk(rows, stack, compile_row), walk(rows, stack, lambda row, arch: row)
        assert fast == slow, (seed, rows)
        depths.add(len(fast[0]))
    assert depths > set(range(1, 10))
