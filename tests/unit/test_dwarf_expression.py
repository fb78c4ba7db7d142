"""The DWARF expression machine: every operation, and hostile programs."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usercrash.analysis.dwarf.expression import MissingValue, evaluate
from usercrash.errors import FormatError

REGISTERS: list[int | None] = [0x1000 * number for number in range(16)] + [None]
MASK = (1 << 64) - 1


def _read(address: int, size: int) -> bytes:
    """Memory in which every byte holds the low byte of its address; nothing above 1 MiB."""
    return bytes(at & 0xFF for at in range(address, address + size) if at < 1 << 20)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (b"\x30", 0),
        (b"\x4f", 31),
        (b"\x77\x08", 0x7008),  # breg7 8
        (b"\x77\x78", 0x6FF8),  # breg7 -8
        (b"\x56", 0x6000),  # reg6
        (b"\x90\x03", 0x3000),  # regx
        (b"\x92\x07\x10", 0x7010),  # bregx
        (b"\x03" + struct.pack("<Q", 0x123456789A), 0x123456789A),
        (b"\x08\xff", 255),
        (b"\x09\xff", MASK),
        (b"\x0a\xff\xff", 0xFFFF),
        (b"\x0b\xfe\xff", MASK - 1),
        (b"\x0c\xff\xff\xff\xff", 0xFFFFFFFF),
        (b"\x0d\xff\xff\xff\xff", MASK),
        (b"\x0e" + b"\xff" * 8, MASK),
        (b"\x0f" + b"\xff" * 8, MASK),
        (b"\x10\x80\x01", 128),
        (b"\x11\x7f", MASK),
        (b"\x31\x12\x22", 2),  # dup, plus
        (b"\x31\x32\x13", 1),  # drop
        (b"\x31\x32\x14", 1),  # over
        (b"\x31\x32\x33\x15\x02", 1),  # pick 2
        (b"\x31\x32\x16", 1),  # swap
        (b"\x31\x32\x33\x17", 2),  # rot: third becomes second …
        (b"\x31\x32\x33\x17\x13\x13", 3),  # … and the top the third
        (b"\x09\xff\x19", 1),  # abs
        (b"\x3f\x33\x1a", 3),  # and
        (b"\x09\xf9\x32\x1b", MASK - 2),  # -7 / 2 = -3
        (b"\x33\x31\x1c", 2),  # minus
        (b"\x37\x34\x1d", 3),  # mod
        (b"\x33\x34\x1e", 12),  # mul
        (b"\x31\x1f", MASK),  # neg
        (b"\x30\x20", MASK),  # not
        (b"\x31\x32\x21", 3),  # or
        (b"\x31\x23\x80\x01", 129),  # plus_uconst
        (b"\x31\x34\x24", 16),  # shl
        (b"\x31\x08\x40\x24", 0),  # … by the whole word
        (b"\x09\xff\x34\x25", MASK >> 4),  # shr
        (b"\x09\xf0\x34\x26", MASK),  # shra
        (b"\x09\xf0\x08\x7f\x26", MASK),
        (b"\x33\x35\x27", 6),  # xor
        (b"\x31\x31\x29", 1),  # eq
        (b"\x09\xff\x31\x2a", 0),  # ge, signed
        (b"\x31\x09\xff\x2b", 1),  # gt
        (b"\x31\x31\x2c", 1),  # le
        (b"\x09\xff\x30\x2d", 1),  # lt
        (b"\x31\x32\x2e", 1),  # ne
        (b"\x31\x32\x31\x28\x01\x00\x13", 2),  # bra over drop
        (b"\x31\x2f\x01\x00\x96\x96", 1),  # skip, nop
        (b"\x08\x10\x06", 0x1716151413121110),  # deref
        (b"\x08\x10\x94\x02", 0x1110),  # deref_size
        (b"\x31\x9f", 1),  # stack_value at the end says nothing new
        (b"\x31\xf0", 1),  # GNU_uninit
        (b"\xf1\x03\x78\x56\x34\x12", 0x12345678),  # GNU_encoded_addr, udata4
    ],
)
def test_operations(code: bytes, value: int) -> None:
    assert evaluate(code, REGISTERS, _read) == value


def test_initial_stack() -> None:
    assert evaluate(b"\x23\x08", REGISTERS, _read, (0x100,)) == 0x108


def test_the_linkers_plt_rule() -> None:
    # breg7 8, breg16 0, lit15, and, lit11, ge, lit3, shl, plus
    code = b"\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22"
    for pc, cfa in ((0x1020, 0x7008), (0x102B, 0x7010)):
        registers = [*REGISTERS[:16], pc]
        assert evaluate(code, registers, _read) == cfa


@pytest.mark.parametrize("code", [b"\x80\x00", b"\x03" + b"\xff" * 8 + b"\x06", b"\x90\x7f"])
def test_what_is_not_known(code: bytes) -> None:
    with pytest.raises(MissingValue):
        evaluate(code, REGISTERS, _read)


@pytest.mark.parametrize(
    "code",
    [
        b"", b"\x06", b"\x22", b"\x31\x30\x1b", b"\x31\x30\x1d", b"\x05", b"\x31\x94\x09",
        b"\x31\x15\x05", b"\x31\x2f\xff\x7f", b"\x31\x16", b"\x0e\x01", b"\xff",
        b"\x2f\xfd\xff",  # a jump to itself
        b"\x31\x12\x2f\xfc\xff",  # dup for ever
    ],
)  # fmt: skip
def test_broken_ones_are_refused(code: bytes) -> None:
    with pytest.raises(FormatError):
        evaluate(code, REGISTERS, _read)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(code: bytes) -> None:
    started = time.process_time()
    try:
        assert 0 <= evaluate(code, REGISTERS, _read) <= MASK
    except (FormatError, MissingValue):
        pass
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "op", [0x18, 0x91, 0x93, 0x97, 0x98, 0x9B, 0x9C, 0xA0, 0xA1, 0xA3, 0xA8, 0xF3]
)
def test_operations_of_other_expressions_are_refused(op: int) -> None:
    with pytest.raises(FormatError, match="makes no sense in a frame"):
        evaluate(b"\x31\x31" + bytes((op, 0, 0)), REGISTERS, _read)


@pytest.mark.parametrize("code", [b"\x31\x9f\x31", b"\xf1\x1b\0\0\0\0", b"\xff"])
def test_misplaced_and_unknown_operations_are_refused(code: bytes) -> None:
    with pytest.raises(FormatError):
        evaluate(code, REGISTERS, _read)
