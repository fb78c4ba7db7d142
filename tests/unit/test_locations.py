"""Location descriptions: what each operation gives, and hostile programs."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usercrash.analysis.dwarf.abbreviations import Shape
from usercrash.analysis.dwarf.attributes import AT_byte_size, AT_encoding
from usercrash.analysis.dwarf.gaps import NOT_IN_DUMP, OPTIMIZED_OUT, THREAD_LOCAL, Gap
from usercrash.analysis.dwarf.locations import Part, Where, locate, number_of
from usercrash.analysis.dwarf.units import Entry, Unit
from usercrash.analysis.dwarf.work import Work
from usercrash.analysis.variables.storage import Order, Source, Sources, bits_of
from usercrash.errors import FormatError

FLOAT, DOUBLE, INT, BYTE = 0x20, 0x30, 0x40, 0x50  # base types by their place in the unit
_TYPES = {FLOAT: (4, 4), DOUBLE: (8, 4), INT: (4, 5), BYTE: (1, 7)}
MEMORY = {0x5000 + at: at & 0xFF for at in range(256)}


@dataclass
class _File:
    work: Work = field(default_factory=Work)


@dataclass
class _Unit:
    """As much of a unit as expressions ask of it."""

    shape: Shape = field(default_factory=lambda: Shape(8, 4, 5, "<"))
    start: int = 0
    file: _File = field(default_factory=_File)

    def entry(self, offset: int) -> Entry | None:
        found = _TYPES.get(offset)
        if found is None:
            return None
        values = {AT_byte_size: (0x0B, found[0]), AT_encoding: (0x0B, found[1])}
        return Entry(cast(Unit, self), offset, 0x24, False, values, 0)

    def indexed_address(self, index: int) -> int:
        return 0x9000 + index


@dataclass
class _Frame:
    registers: list[int | None] = field(
        default_factory=lambda: [0x1000 * number for number in range(16)] + [None]
    )
    bias: int = 0x100000

    def read(self, address: int, size: int) -> bytes:
        found = bytearray()
        while len(found) < size and address + len(found) in MEMORY:
            found.append(MEMORY[address + len(found)])
        return bytes(found)

    def vector(self, number: int) -> bytes | None:
        return struct.pack("<dd", 1.5, 0) if number == 17 else None

    def frame_base(self) -> int:
        return 0x5000

    def frame_address(self) -> int:
        return 0x5010

    def entry_value(self, expression: bytes, unit: Unit) -> int:
        if expression == b"\x55":
            return 77
        raise Gap(OPTIMIZED_OUT)


UNIT = cast(Unit, _Unit())


def _double(value: float) -> bytes:
    return b"\xa4\x30\x08" + struct.pack("<d", value)


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        (b"", []),
        (b"\x03" + struct.pack("<Q", 0x4010), [Part(Where.MEMORY, 0x104010)]),  # addr
        (b"\xa1\x05", [Part(Where.MEMORY, 0x109005)]),  # addrx
        (b"\xa2\x05\x9f", [Part(Where.VALUE, 0x9005)]),  # constx
        (b"\x53", [Part(Where.REGISTER, 3)]),
        (b"\x90\x21", [Part(Where.REGISTER, 0x21)]),  # regx
        (b"\x91\x70", [Part(Where.MEMORY, 0x4FF0)]),  # fbreg -16
        (b"\x9c\x23\x08", [Part(Where.MEMORY, 0x5018)]),  # call_frame_cfa, plus_uconst
        (b"\x38\x9f", [Part(Where.VALUE, 8)]),  # lit8, stack_value
        (b"\x9e\x03abc", [Part(Where.BYTES, data=b"abc")]),  # implicit_value
        (b"\xa3\x01\x55\x9f", [Part(Where.VALUE, 77)]),  # entry_value
        (b"\x50\x93\x04\x93\x04", [Part(Where.REGISTER, 0, bits=32), Part(Where.NOWHERE, bits=32)]),
        (b"\x50\x9d\x05\x03", [Part(Where.REGISTER, 0, bits=5, skip=3)]),
        (
            b"\x91\x00\x93\x02\x31\x9f\x93\x01",
            [Part(Where.MEMORY, 0x5000, bits=16), Part(Where.VALUE, 1, bits=8)],
        ),
    ],
)
def test_parts(code: bytes, parts: list[Part]) -> None:
    assert locate(code, UNIT, _Frame()) == parts


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (_double(1.5) + _double(0.5) + b"\x1e\x9f", struct.pack("<d", 0.75)),
        (_double(1.0) + _double(4.0) + b"\x1b\x9f", struct.pack("<d", 0.25)),
        (_double(-2.9) + b"\xa8\x40\x9f", struct.pack("<i", -2)),  # to int, towards zero
        (_double(0.1) + b"\xa8\x20\x9f", struct.pack("<f", 0.1)),
        (b"\x09\xff\xa8\x40\xa8\x30\x9f", struct.pack("<d", -1.0)),  # -1 to int to double
        (b"\x09\xff\xa8\x50\x9f", b"\xff"),
        (b"\xa5\x01\x40\x9f", struct.pack("<i", 0x1000)),  # regval_type
        (b"\xa5\x11\x30\x9f", struct.pack("<d", 1.5)),  # of a vector
        (b"\x91\x04\xa6\x04\x40\x9f", bytes((4, 5, 6, 7))),  # deref_type
        (b"\x09\xf8\xa8\x40\x32\xa8\x40\x1b\x9f", struct.pack("<i", -4)),  # -8 / 2
        (b"\x09\xf9\xa8\x40\x32\xa8\x40\x1d\x9f", struct.pack("<i", -1)),  # -7 % 2, as C has it
        (b"\x09\xf8\xa8\x40\x31\xa8\x40\x25\x9f", struct.pack("<I", 0x7FFFFFFC)),  # shr
        (_double(1.0) + b"\xa9\x40\x9f", bytes(4)),  # reinterpret
    ],
)
def test_typed_values(code: bytes, data: bytes) -> None:
    assert locate(code, UNIT, _Frame()) == [Part(Where.BYTES, data=data)]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (b"\x80\x00", OPTIMIZED_OUT),  # breg16, which is not known
        (b"\x0a\x00\x10\x06", NOT_IN_DUMP),  # deref of what is not there
        (b"\x08\x10\x9b", THREAD_LOCAL),
        (b"\xe0", THREAD_LOCAL),
        (b"\xa3\x01\x50\x9f", OPTIMIZED_OUT),
        (b"\x98\x00\x00", "location not supported: operation 0x98"),
        (_double(1.0) + _double(0.0) + b"\x1b\x9f",
         "location not supported: calculated in floating point"),
    ],
)  # fmt: skip
def test_gaps(code: bytes, why: str) -> None:
    with pytest.raises(Gap) as error:
        locate(code, UNIT, _Frame())
    assert error.value.why == why


@pytest.mark.parametrize(
    "code",
    [b"\x22", b"\x9e\x7fabc", b"\xa4\x41\x01\x00", b"\x2f\xfd\xff", b"\x93", b"\x30" * 300],
)
def test_broken(code: bytes) -> None:
    with pytest.raises(FormatError):
        locate(code, UNIT, _Frame())


def test_numbers() -> None:
    """A bound or a frame base is a number, whatever place it would describe."""
    assert number_of(b"\x56", UNIT, _Frame()) == 0x6000
    assert number_of(b"\x76\x08", UNIT, _Frame()) == 0x6008
    assert number_of(b"\x23\x08", UNIT, _Frame(), 0x70) == 0x78
    with pytest.raises(Gap):
        number_of(b"\x60", UNIT, _Frame())


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes(code: bytes) -> None:
    try:
        found = locate(code, UNIT, _Frame())
    except (FormatError, Gap):
        return
    for part in found:
        assert part.where in Where
        assert part.bits >= 0


# --- bytes of parts ---


def _source(parts: list[Part], size: int, order: Order = "little") -> Source:
    def register(number: int) -> bytes | None:
        return (0x1122334455667788).to_bytes(8, order) if number == 0 else None

    return Sources(_Frame().read, register, 8, order).of(parts, size)


def test_bytes_of_parts() -> None:
    assert _source([Part(Where.MEMORY, 0x5001)], 2).read(0, 2) == b"\x01\x02"
    assert _source([Part(Where.MEMORY, 0x5001)], 2).address(1) == 0x5002
    assert _source([Part(Where.REGISTER, 0)], 2).read(0, 2) == b"\x88\x77"
    assert _source([Part(Where.REGISTER, 0)], 2, "big").read(0, 2) == b"\x77\x88"
    pieces = [Part(Where.REGISTER, 0, bits=16, skip=8), Part(Where.MEMORY, 0x5003, bits=8)]
    assert _source(pieces, 3).read(0, 3) == b"\x77\x66\x03"
    big = [Part(Where.REGISTER, 0, bits=16), Part(Where.MEMORY, 0x5003, bits=8)]
    assert _source(big, 3, "big").read(0, 3) == b"\x77\x88\x03"
    bits = [Part(Where.VALUE, 5, bits=3), Part(Where.VALUE, 1, bits=5)]
    assert _source(bits, 1).read(0, 1) == bytes((5 | 1 << 3,))


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([], OPTIMIZED_OUT),
        ([Part(Where.REGISTER, 1)], OPTIMIZED_OUT),
        ([Part(Where.MEMORY, 0x9999)], NOT_IN_DUMP),
        ([Part(Where.VALUE, 1, bits=32), Part(Where.NOWHERE, bits=32)], OPTIMIZED_OUT),
        ([Part(Where.VALUE, 1, bits=3), Part(Where.NOWHERE, bits=5)], OPTIMIZED_OUT),
    ],
)
def test_missing_parts(parts: list[Part], why: str) -> None:
    with pytest.raises(Gap) as error:
        _source(parts, 8).read(0, 8)
    assert error.value.why == why


def test_bit_fields() -> None:
    """In the order of memory: the lowest bits first, on machines with the other byte order last."""
    source = _source([Part(Where.BYTES, data=b"\xa1\xb2\xc3")], 3)
    assert bits_of(source, 4, 8, "little") == 0x2A
    assert bits_of(source, 4, 8, "big") == 0x1B
