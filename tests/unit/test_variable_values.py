"""Numbers, characters and strings as a report writes them; what an analysis spends on variables."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.analysis.dwarf.gaps import Gap
from usercrash.analysis.dwarf.records import Member, Record, Types
from usercrash.analysis.dwarf.types import Kind, Type
from usercrash.analysis.dwarf.units import Entry, Unit
from usercrash.analysis.dwarf.work import TooMuchError, Work
from usercrash.analysis.variables.frame import Frame
from usercrash.analysis.variables.nulls import NullPointer
from usercrash.analysis.variables.numbers import floating, quoted
from usercrash.analysis.variables.printer import Printer, Process
from usercrash.analysis.variables.storage import Known
from usercrash.elf.arch.x86_64 import ARCH


@given(st.floats(width=64))
def test_doubles_come_back(value: float) -> None:
    shown = floating(struct.pack("<d", value), "little", "x86_64")
    assert math.isnan(value) if shown == "nan" else float(shown) == value


@given(st.floats(width=32))
def test_floats_come_back(value: float) -> None:
    data = struct.pack(">f", value)
    shown = floating(data, "big", "x86_64")
    assert math.isnan(value) if shown == "nan" else struct.pack(">f", float(shown)) == data


@given(st.integers(1 << 63, (1 << 64) - 1), st.integers(16383 - 80, 16383 + 80), st.booleans())
def test_extended_come_back(mantissa: int, exponent: int, negative: bool) -> None:
    """x87's numbers: what is written is nearer to this number than to its neighbours."""
    head = exponent | negative << 15
    data = mantissa.to_bytes(8, "little") + head.to_bytes(2, "little") + bytes(6)
    shown = floating(data, "little", "x86_64")
    unit = Fraction(2) ** (exponent - 16383 - 63)
    value = mantissa * unit * (-1 if negative else 1)
    assert abs(Fraction(shown) - value) < unit / 2 * (1 + Fraction(1, 1 << 60))


@pytest.mark.parametrize(
    ("data", "machine", "shown"),
    [
        (struct.pack("<d", 0.1), "x86_64", "0.1"),
        (struct.pack("<f", 0.1), "x86_64", "0.1"),
        (b"\xff\xff\x7f\x7f", "x86_64", "3.4028235e+38"),  # the largest float
        (struct.pack("<f", 16777216.0), "x86_64", "16777216"),
        (struct.pack("<d", 3.0), "x86_64", "3"),
        (struct.pack("<d", -math.inf), "x86_64", "-inf"),
        (struct.pack("<e", 1.5), "aarch64", "1.5"),
        (bytes.fromhex("00000000000000a0ff3f") + bytes(6), "x86_64", "1.25"),
        (bytes(8) + b"\xff\x7f", "i386", "inf"),
        (bytes(16), "x86_64", "0"),
        (bytes(14) + b"\xff\x3f", "aarch64", "1"),  # 128 bits
        (bytes(13) + b"\x40\x01\xc0", "aarch64", "-5"),
    ],
)
def test_floating(data: bytes, machine: str, shown: str) -> None:
    assert floating(data, "little", machine) == shown


def test_pairs_of_doubles_are_not_known() -> None:
    with pytest.raises(Gap):
        floating(bytes(16), "big", "ppc64")


@pytest.mark.parametrize(
    ("data", "size", "shown"),
    [
        (b"plain", 1, '"plain"'),
        (b'a"b\\c\n\t\x1b', 1, '"a\\"b\\\\c\\n\\t\\033"'),
        ("ä€".encode(), 1, '"ä€"'),
        (b"\xff\xfe", 1, '"\\377\\376"'),
        ("\u202e\u009b".encode(), 1, '"\\u202e\\u009b"'),  # what may steer a terminal
        ("hé".encode("utf-16-le"), 2, '"hé"'),
        ("hé😀".encode("utf-32-le"), 4, '"hé😀"'),
        (b"\xff\xff\xff\x7f", 4, '"\\x7fffffff"'),
    ],
)
def test_strings(data: bytes, size: int, shown: str) -> None:
    assert quoted(data, size) == shown


@given(st.binary(max_size=60), st.sampled_from((1, 2, 4)))
def test_any_string_is_printable(data: bytes, size: int) -> None:
    assert quoted(data, size).isprintable()


class _Endless(Types):
    """A record that is its own base, many times."""

    def _read_record(self, entry: Entry) -> Record:
        kind = Type(Kind.RECORD, "A", size=8, entry=entry)
        return Record([Member("", kind, base=True)] * 500)


def test_records_without_end() -> None:
    """Searching in bases and members is spent, too."""
    work = Work(100_000)
    unit = cast(Unit, SimpleNamespace(file=SimpleNamespace(work=work)))
    kind = Type(Kind.RECORD, "A", size=8, entry=Entry(unit, 1, 0x13, True, {}, 2))
    null = NullPointer("a", None, None, kind, _Endless())
    assert null.member_at(0, 8) is None
    assert work.exhausted


def test_work_is_lent() -> None:
    """What variables cost is not taken from what names may cost, and ends by itself."""
    whole, module = Work(5_000), Work(50)
    module.spend(20)
    with module.lent(whole):
        module.spend(4_500)
        with pytest.raises(TooMuchError):
            module.spend(600)
        assert module.exhausted
    assert not module.exhausted
    module.spend(30)
    with pytest.raises(TooMuchError):
        module.spend(1)


@pytest.mark.parametrize(
    ("before", "text", "shown"),
    [
        (b"HOME=/root\0", b"DB_PASSWORD=hunter2", "DB_PASSWORD=<masked>"),
        (b"app\0--password\0", b"hunter2", "<masked>"),
        (b"app\0--secret=", b"hunter2", "<masked>"),
        (b"app\0--color\0", b"yellow", "yellow"),
    ],
)
def test_strings_of_arguments_and_environment(before: bytes, text: bytes, shown: str) -> None:
    """What a pointer leads to is masked there as it is where arguments and environment are told."""
    start = 0x7000
    data = bytes(64) + before + text + b"\0" + bytes(300)

    def memory(address: int, size: int) -> bytes:
        at = address - start
        return data[at : at + size] if 0 <= at <= len(data) else b""

    process = Process(memory, lambda address: "", lambda address: True)
    frame = cast("Frame", SimpleNamespace(arch=ARCH))
    address = start + 64 + len(before)
    character = Type(Kind.BASE, "char", size=1, encoding=6)
    pointer = Type(Kind.POINTER, "char *", size=8, target=character)
    printer = Printer(Types(), process, frame)
    source = Known(address.to_bytes(8, "little"))
    assert printer.value(pointer, source) == f'{address:#x} "{shown}"'
