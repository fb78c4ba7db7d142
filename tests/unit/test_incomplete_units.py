"""Debug information that leaves something out: blocks without addresses, a broken last unit."""

from __future__ import annotations

import struct

from tests.unit.test_hostile_dwarf import abbreviation, make_elf

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.dwarf.debug_info import DwarfFile
from usercrash.analysis.symbols.debug_reader import DebugReader

START = 0x1000
_PC = ((0x11, 1), (0x12, 7))  # low_pc, high_pc
_NAMED = ((3, 8), *_PC)
_ABBREVIATIONS = (
    abbreviation(1, 0x11, 1, *_PC)
    + abbreviation(2, 0x2E, 1, *_NAMED)
    + abbreviation(3, 0x0B, 1)
    + abbreviation(4, 0x1D, 0, *_NAMED)
    + b"\0"
)


def _unit(inner: bytes) -> bytes:
    span = struct.pack("<QQ", START, 0x100)
    body = struct.pack("<HIB", 4, 0, 8) + b"\1" + span + b"\2outer\0" + span + inner + b"\0\0"
    return struct.pack("<I", len(body)) + body


def _reader(info: bytes) -> DebugReader:
    sections = {".debug_info": info, ".debug_abbrev": _ABBREVIATIONS}
    return DebugReader(DwarfFile(ElfFile(make_elf(sections))))


def test_blocks_without_addresses_are_entered() -> None:
    inlined = b"\4inl\0" + struct.pack("<QQ", START, 0x20)
    for depth in (1, 3):
        reader = _reader(_unit(b"\3" * depth + inlined + b"\0" * depth))
        assert [line.name for line in reader.lookup(START + 0x10)] == ["inl", "outer"]
        assert [line.name for line in reader.lookup(START + 0x30)] == ["outer"]


def test_units_before_a_reserved_length_are_read_each_time() -> None:
    reader = _reader(_unit(b"") + struct.pack("<I", 0xFFFFFFF5) + bytes(20))
    for _ in range(2):
        assert [line.name for line in reader.lookup(START + 0x10)] == ["outer"]


def test_a_reference_to_another_unit_of_a_split_file() -> None:
    """As LTO makes them: several units in one `.dwo`."""
    abbreviations = (
        abbreviation(1, 0x11, 1, (3, 8))
        + abbreviation(2, 0x2E, 0, (3, 8))
        + abbreviation(3, 0x2E, 0, (0x31, 0x10))
        + b"\0"
    )

    def unit(name: bytes, refers: int) -> bytes:
        body = struct.pack("<HIB", 4, 0, 8) + b"\1" + name + b"\0\2of-" + name + b"\0\3"
        body += struct.pack("<I", refers) + b"\0"
        return struct.pack("<I", len(body)) + body

    first = 11 + 1 + 2  # behind the header and the unit's own entry
    second = len(unit(b"a", 0)) + first
    info = unit(b"a", second) + unit(b"b", first)
    elf = ElfFile(make_elf({".debug_info.dwo": info, ".debug_abbrev.dwo": abbreviations}))
    file = DwarfFile(elf, split=True)
    names = []
    for one in file.units():
        entry = list(one.children(one.root))[1].reference(0x31)
        assert entry is not None
        names.append(entry.text(3))
    assert names == [b"of-b", b"of-a"]
