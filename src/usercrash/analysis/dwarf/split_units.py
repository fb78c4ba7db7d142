"""Split DWARF: the units in `.dwo` files, and in `.dwp` packages of them.

Sources: DWARF 5 section 7.3.5 (package index); GCC wiki "DebugFissionDWP" for its version 2.
"""

from __future__ import annotations

import struct

from ...errors import FormatError
from .debug_info import DwarfFile
from .encodings import Buffer, fixed
from .units import Parts, Unit

_MAX_COLUMNS = 32
# DW_SECT_* (5 is `.debug_loc` in version 2, `.debug_loclists` in version 5)
_INFO, _ABBREV, _LOCATIONS, _STR_OFFSETS, _RNGLISTS = 1, 3, 5, 6, 8


def unit_in_object(file: DwarfFile, skeleton: Unit) -> Unit | None:
    """The unit of a `.dwo` file that belongs to a skeleton, None where none has its id."""
    wanted = skeleton.identity()
    for start in file.unit_starts():
        file.work.spend()
        try:
            found = Unit(file, start, Parts(), skeleton)
            if wanted is not None and found.identity() == wanted:
                return found
        except FormatError:
            continue  # a unit that is broken is not the one that is asked for
    return None


def unit_in_package(file: DwarfFile, skeleton: Unit) -> Unit | None:
    """The unit of a `.dwp` file that belongs to a skeleton, None where it has none.

    FormatError where its index is broken.
    """
    wanted = skeleton.identity()
    section = file.elf.section(b".debug_cu_index")
    if wanted is None or section is None:
        return None
    rows = _contributions(file, file.elf.contents(section), wanted)
    if rows is None:
        return None
    parts = Parts(
        abbrev=rows.get(_ABBREV, 0),
        str_offsets=rows.get(_STR_OFFSETS, 0),
        rnglists=rows.get(_RNGLISTS, 0),
        locations=rows.get(_LOCATIONS, 0),
    )
    found = Unit(file, rows.get(_INFO, 0), parts, skeleton)
    if found.identity() != wanted:
        raise FormatError("its index names another unit")
    return found


def _contributions(file: DwarfFile, data: Buffer, wanted: int) -> dict[int, int] | None:
    """The offsets of a unit's parts by DW_SECT number."""
    order = file.order
    _version, columns, units, slots = struct.unpack(order + "4I", _take(data, 0, 16))
    if not 0 < columns <= _MAX_COLUMNS or slots & (slots - 1) or units > slots:
        raise FormatError("package index with a broken head")
    row = _slot(file, data, wanted, slots)
    if row is None:
        return None
    if row > units:
        raise FormatError("package index leads outside")
    table = 16 + 12 * slots
    layout = struct.Struct(f"{order}{columns}I")
    kinds = layout.unpack(_take(data, table, layout.size))
    offsets = layout.unpack(_take(data, table + layout.size * row, layout.size))
    return dict(zip(kinds, offsets, strict=True))


def _slot(file: DwarfFile, data: Buffer, wanted: int, slots: int) -> int | None:
    """The row of an id, by the hash table."""
    order, mask = file.order, slots - 1
    at, step = wanted & mask, (wanted >> 32) & mask | 1
    for _ in range(slots):
        file.work.spend(2)
        row = fixed(data, 16 + 8 * slots + 4 * at, order + "I")
        if row == 0:
            return None
        if fixed(data, 16 + 8 * at, order + "Q") == wanted:
            return row
        at = (at + step) & mask
    return None


def _take(data: Buffer, at: int, size: int) -> bytes:
    found = bytes(data[at : at + size])
    if len(found) < size:
        raise FormatError("package index cut short")
    return found
