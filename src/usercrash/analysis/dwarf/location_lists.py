"""Location lists: which expression describes a variable at an address.

Sources: DWARF 4 section 7.7.3 (`.debug_loc`), DWARF 5 section 7.7.3 (`.debug_loclists`), the GCC
wiki's "DebugFission" for lists of split units before version 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import FormatError
from . import abbreviations as ab
from .address_ranges import base_address
from .attributes import AT_loclists_base
from .encodings import Buffer, fixed, uleb
from .units import MAX_BLOCK, Entry, Unit

MAX_ROWS = 20_000  # of one list
_LETTERS = {2: "H", 4: "I", 8: "Q"}
_OFFSETS = (0x06, 0x07, ab.FORM_sec_offset)  # data4 and data8 before version 4

# [start, end) and where an expression lies; an `end` of None: holds where no other one does
_Row = tuple[int, int | None, int, int]


def expression_at(entry: Entry, attribute: int, address: int) -> bytes | None:
    """The expression of an attribute that counts at an address (a link-time one); None where there
    is no such attribute, or its list has nothing for the address."""
    found = entry.values.get(attribute)
    if found is None:
        return None
    form, number = found
    unit = entry.unit
    if form == ab.FORM_loclistx or form in _OFFSETS:
        name, at = _place(unit, form, number)
        data = unit.file.section(name)
        rows = _rows(unit, data, at) if name == "loclists" else _old_rows(unit, data, at)
        return _chosen(unit, data, rows, address)
    return unit.block(form, number)


def _chosen(unit: Unit, data: Buffer, rows: Iterator[_Row], address: int) -> bytes | None:
    fallback: tuple[int, int] | None = None
    for count, (low, high, start, end) in enumerate(rows):
        unit.file.work.spend(3)
        if count > MAX_ROWS or end > len(data) or end - start > MAX_BLOCK:
            raise FormatError("location list too long")
        if high is None:
            fallback = start, end
        elif low <= address < high:
            return bytes(data[start:end])
    return bytes(data[fallback[0] : fallback[1]]) if fallback is not None else None


def _place(unit: Unit, form: int, number: int) -> tuple[str, int]:
    """(section, offset) of a list."""
    if unit.version < 5:
        return "loc", number + unit.parts.locations
    if form != ab.FORM_loclistx:
        return "loclists", number + unit.parts.locations
    if unit.file.split:
        base = unit.parts.locations + (12 if unit.shape.offset == 4 else 20)
    else:
        base = unit.root.number(AT_loclists_base) or 0
    at = base + number * unit.shape.offset
    return "loclists", base + fixed(unit.file.section("loclists"), at, unit.offset_letter)


def _rows(unit: Unit, data: Buffer, at: int) -> Iterator[_Row]:
    """A list of `.debug_loclists`."""
    base = base_address(unit)
    word, letter = unit.shape.word, unit.shape.order + _LETTERS[unit.shape.word]
    while True:
        kind = fixed(data, at, "B")
        at += 1
        low, high = 0, None
        if kind == 0:  # DW_LLE_end_of_list
            return
        if kind in (1, 6):  # base_addressx, base_address
            base, at = (
                _indexed(unit, data, at)
                if kind == 1
                else (fixed(data, at, letter), at + word)
            )  # fmt: skip
            unit.file.work.spend()
            continue
        if kind in (2, 3):  # startx_endx, startx_length
            low, at = _indexed(unit, data, at)
            high, at = _indexed(unit, data, at) if kind == 2 else uleb(data, at)
        elif kind in (4, 9):  # offset_pair; GNU's view_pair, which says nothing of addresses
            low, at = uleb(data, at)
            high, at = uleb(data, at)
            if kind == 9:
                unit.file.work.spend()
                continue
            low, high = base + low, base + high
        elif kind in (7, 8):  # start_end, start_length
            low, at = fixed(data, at, letter), at + word
            high, at = (fixed(data, at, letter), at + word) if kind == 7 else uleb(data, at)
        elif kind != 5:  # default_location
            raise FormatError(f"location list entry {kind:#x}")
        if kind in (3, 8) and high is not None:
            high += low
        size, at = uleb(data, at)
        yield low, high, at, at + size
        at += size


def _indexed(unit: Unit, data: Buffer, at: int) -> tuple[int, int]:
    index, at = uleb(data, at)
    return unit.indexed_address(index), at


def _old_rows(unit: Unit, data: Buffer, at: int) -> Iterator[_Row]:
    """A list of `.debug_loc`, in a split unit of `.debug_loc.dwo`."""
    base = base_address(unit)
    word, order = unit.shape.word, unit.shape.order
    letter = order + _LETTERS[word]
    while True:
        if unit.file.split:
            kind = fixed(data, at, "B")
            at += 1
            if kind == 0:
                return
            if kind == 1:  # base address
                base, at = _indexed(unit, data, at)
                unit.file.work.spend()
                continue
            low, high, at = _split_range(unit, data, at, kind, base)
        else:
            low, high = fixed(data, at, letter), fixed(data, at + word, letter)
            at += 2 * word
            if low == high == 0:
                return
            if low == (1 << 8 * word) - 1:
                base = high
                unit.file.work.spend()
                continue
            low, high = base + low, base + high
        size = fixed(data, at, order + "H")
        yield low, high, at + 2, at + 2 + size
        at += 2 + size


def _split_range(unit: Unit, data: Buffer, at: int, kind: int, base: int) -> tuple[int, int, int]:
    """(start, end, position behind) of a row of GNU's `.debug_loc.dwo`."""
    order = unit.shape.order
    if kind == 4:  # offset pair
        return (
            base + fixed(data, at, order + "I"),
            base + fixed(data, at + 4, order + "I"),
            at + 8,
        )
    low, at = _indexed(unit, data, at)
    if kind == 2:
        high, at = _indexed(unit, data, at)
        return low, high, at
    if kind == 3:
        return low, low + fixed(data, at, order + "I"), at + 4
    raise FormatError(f"location list entry {kind:#x}")
