"""ARM's exception index: every instruction, and any bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.analysis.dwarf.arm_index import ArmIndex
from usercrash.analysis.dwarf.cfi import OFFSET, Row
from usercrash.errors import FormatError

TABLE, EXTRA, CODE = 0x1000, 0x2000, 0x400


def prel31(place: int, target: int) -> int:
    return target - place & 0x7FFFFFFF


def index(content: int, extra: bytes = b"", order: str = "<") -> ArmIndex:
    """An index of one entry for the code at CODE (a Thumb function)."""

    def read(address: int, size: int) -> bytes:
        start = address - EXTRA
        return extra[start : start + size] if start >= 0 else b""

    table = struct.pack(f"{order}2I", prel31(TABLE, CODE | 1), content)
    return ArmIndex(table, TABLE, read, order)


def row_of(code: bytes, order: str = "<") -> Row:
    """The row of a list of instructions, by way of `.ARM.extab` with the long form."""
    code = code.ljust(2 + -(len(code) - 2) % 4 + len(code) - 2, b"\xb0")
    head = 0x81 << 24 | (len(code) - 2) // 4 << 16 | int.from_bytes(code[:2], "big")
    words = [head, *(word for (word,) in struct.iter_unpack(">I", code[2:]))]
    extra = struct.pack(f"{order}{len(words)}I", *words)
    row = index(prel31(TABLE + 4, EXTRA), extra, order).row(CODE + 8)
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("code", "base", "offset", "saved"),
    [
        (b"\xb0\xb0", 13, 0, {}),
        (b"\x03\xb0", 13, 16, {}),
        (b"\x41\x04", 13, 12, {}),
        (b"\x84\x08", 13, 8, {7: -8, 14: -4}),
        (b"\x88\x08", 13, 8, {7: -8, 14: -4}),  # the pc itself
        (b"\x9b\x40\x84\x80", 11, 4, {11: -8, 14: -4}),
        (b"\x97\x84\x08", 7, 8, {7: -8, 14: -4}),
        (b"\xa3\xb0", 13, 16, {4: -16, 5: -12, 6: -8, 7: -4}),
        (b"\xa9\xb0", 13, 12, {4: -12, 5: -8, 14: -4}),
        (b"\xb1\x0f\xa8", 13, 24, {0: -24, 1: -20, 2: -16, 3: -12, 4: -8, 14: -4}),
        (b"\xb2\x80\x01\xb0", 13, 0x204 + 512, {}),
        (b"\xb3\x81\xb0", 13, 20, {}),
        (b"\xb4\xb5", 13, 4, {}),
        (b"\xb9\xb0", 13, 20, {}),
        (b"\xc1\xb0", 13, 16, {}),
        (b"\xc6\x02", 13, 24, {}),
        (b"\xc7\x05", 13, 8, {}),
        (b"\xc8\x01", 13, 16, {}),
        (b"\xc9\x83\xa8", 13, 40, {4: -8, 14: -4}),
        (b"\xd0\xb0", 13, 8, {}),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_instructions(
    code: bytes, base: int, offset: int, saved: dict[int, int], order: str
) -> None:
    row = row_of(code, order)
    saved = {14 if register == 15 else register: place for register, place in saved.items()}
    wanted = {register: (OFFSET, place) for register, place in saved.items()}
    if code == b"\x41\x04":
        offset = -8 + 20
    if code == b"\x88\x08":
        wanted = {7: (OFFSET, -8), 14: (OFFSET, -4)}
    assert (row.cfa_register, row.cfa_offset) == (base, offset)
    assert row.rules == wanted


def test_entries() -> None:
    inline = index(0x80A8B0B0).row(CODE)
    assert inline is not None
    assert inline.rules == {4: (OFFSET, -8), 14: (OFFSET, -4)}
    assert index(1).row(CODE) is None  # forbids to unwind
    assert index(1).row(CODE - 1) is None
    generic = struct.pack("<2I", 0x10, 0x00A8B0B0)
    found = index(prel31(TABLE + 4, EXTRA), generic).row(CODE)
    assert found is not None and found.rules == inline.rules


@pytest.mark.parametrize(
    "code", [b"\x80\x00", b"\x9d\xb0", b"\x9f\xb0", b"\xa0\x9b", b"\xb1\x00", b"\xb1\x10",
             b"\xb6\xb0", b"\xca\xb0", b"\xd8\xb0", b"\xff\xb0", b"\x82\x00",
             b"\xb2\x80\x80\x80\x80\x10\xb0", b"\xb2" + b"\x80" * 9 + b"\x01\xb0"],
)  # fmt: skip
def test_refused(code: bytes) -> None:
    with pytest.raises(FormatError):
        row_of(code)


@given(st.binary(max_size=64), st.integers(0, 2**32 - 1), st.binary(max_size=64))
def test_any_bytes(table: bytes, pc: int, extra: bytes) -> None:
    found = ArmIndex(table, pc & 0xFFFF, lambda address, size: extra[address & 63 :][:size])
    for place in (pc, pc & 0xFFFF, 0):
        try:
            row = found.row(place)
        except FormatError:
            continue
        assert row is None or isinstance(row, Row)


@given(st.binary(min_size=2, max_size=200))
def test_any_instructions(code: bytes) -> None:
    try:
        row = row_of(code)
    except FormatError:
        return
    assert all(kind == OFFSET for kind, _ in row.rules.values())
