"""The addresses of entries and units: low and high pc, `.debug_ranges`, `.debug_rnglists`,
`.debug_aranges` (DWARF 5 sections 2.17, 6.1.2, 7.25)."""

from __future__ import annotations

import struct

from ...errors import FormatError
from . import abbreviations as ab
from .attributes import (
    AT_GNU_ranges_base,
    AT_high_pc,
    AT_low_pc,
    AT_ranges,
    AT_rnglists_base,
)
from .debug_info import DwarfFile
from .encodings import Buffer, fixed, uleb
from .units import Entry, Unit

MAX_RANGES = 100_000  # of one entry
MAX_ARANGES = 2_000_000  # of one file

Ranges = list[tuple[int, int]]
_LETTERS = {2: "H", 4: "I", 8: "Q"}


def ranges_of(entry: Entry) -> Ranges:
    """[start, end) of an entry's code, empty where it has none (an abstract one, data)."""
    if AT_ranges in entry.values:
        return _listed(entry.unit, *entry.values[AT_ranges])
    if AT_high_pc not in entry.values:
        return []
    low = entry.address(AT_low_pc)
    if low is None:
        return []
    form, number = entry.values[AT_high_pc]
    absolute = form in (ab.FORM_addr, ab.FORM_addrx, ab.FORM_GNU_addr_index)
    high = entry.unit.address(form, number) if absolute or 0x29 <= form <= 0x2C else low + number
    return [(low, high)] if low < high else []


def covers(ranges: Ranges, address: int) -> bool:
    """Whether an address lies in one of the ranges."""
    return any(low <= address < high for low, high in ranges)


def _listed(unit: Unit, form: int, number: int) -> Ranges:
    home = unit.skeleton or unit
    if unit.version < 5:
        base = 0
        if unit.skeleton is not None:
            base = home.root.number(AT_GNU_ranges_base) or 0
        return _old_list(home, number + base)
    if form != ab.FORM_rnglistx:
        return _list(unit, number + unit.parts.rnglists if unit.file.split else number)
    if unit.file.split:
        base = unit.parts.rnglists + (12 if unit.shape.offset == 4 else 20)
    else:
        base = unit.root.number(AT_rnglists_base) or 0
    offsets = unit.file.section("rnglists")
    at = base + number * unit.shape.offset
    return _list(unit, base + fixed(offsets, at, unit.offset_letter))


def base_address(unit: Unit) -> int:
    """What the addresses of a unit's lists are relative to, where they do not say it."""
    home = unit.skeleton or unit
    return home.root.address(AT_low_pc) or 0


def _old_list(unit: Unit, at: int) -> Ranges:
    """A list of `.debug_ranges` (DWARF 4 section 2.17.3)."""
    data = unit.file.section("ranges")
    word = unit.shape.word
    letter = unit.file.order + _LETTERS[word]
    base = base_address(unit)
    found: Ranges = []
    for _ in range(MAX_RANGES):
        unit.file.work.spend()
        low, high = fixed(data, at, letter), fixed(data, at + word, letter)
        at += 2 * word
        if low == high == 0:
            return found
        if low == (1 << 8 * word) - 1:
            base = high
        elif low < high:
            found.append((base + low, base + high))
    raise FormatError("too many ranges")


def _list(unit: Unit, at: int) -> Ranges:
    """A list of `.debug_rnglists` (DWARF 5 section 7.25)."""
    data = unit.file.section("rnglists")
    base = base_address(unit)
    found: Ranges = []
    word, letter = unit.shape.word, unit.file.order + _LETTERS[unit.shape.word]
    for _ in range(MAX_RANGES):
        unit.file.work.spend(2)
        kind = fixed(data, at, "B")
        at += 1
        if kind == 0:  # DW_RLE_end_of_list
            return found
        first, at = _operand(data, at, kind >= 5, word, letter)
        if kind == 1:  # base_addressx
            base = unit.indexed_address(first)
            continue
        if kind == 5:  # base_address
            base = first
            continue
        second, at = _operand(data, at, kind == 6, word, letter)
        if kind in (2, 3):  # startx_endx, startx_length
            low = unit.indexed_address(first)
            high = unit.indexed_address(second) if kind == 2 else low + second
        elif kind == 4:  # offset_pair
            low, high = base + first, base + second
        elif kind in (6, 7):  # start_end, start_length
            low, high = first, second if kind == 6 else first + second
        else:
            raise FormatError(f"range list entry {kind:#x}")
        if low < high:
            found.append((low, high))
    raise FormatError("too many ranges")


def _operand(data: Buffer, at: int, address: bool, word: int, letter: str) -> tuple[int, int]:
    return (fixed(data, at, letter), at + word) if address else uleb(data, at)


def read_aranges(file: DwarfFile) -> list[tuple[int, int, int]]:
    """(start, end, offset of the unit) of all of `.debug_aranges`, as far as it can be read."""
    data, order = bytes(file.section("aranges")), file.order
    short, wide = struct.Struct(order + "IHIBB"), struct.Struct(order + "4xQHQBB")
    pairs = {4: struct.Struct(order + "II"), 8: struct.Struct(order + "QQ")}
    rows: list[tuple[int, int, int]] = []
    at = 0
    while at + wide.size <= len(data) and len(rows) < MAX_ARANGES:
        head, begin = short, at + 4
        size, _, unit, word, segment = short.unpack_from(data, at)
        if size == 0xFFFFFFFF:
            head, begin = wide, at + 12
            size, _, unit, word, segment = wide.unpack_from(data, at)
        end = min(begin + size, len(data))
        pair = pairs.get(word)
        if pair is not None and segment == 0:
            first = at + head.size + -head.size % pair.size
            usable = max(0, end - first) // pair.size * pair.size
            file.work.spend(4 + usable // pair.size)
            for low, length in pair.iter_unpack(data[first : first + usable]):
                if length:
                    rows.append((low, low + length, unit))
        else:
            file.work.spend(4)
        at = end
    return rows
