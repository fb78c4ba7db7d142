"""Object files (ET_REL) that a compiler placed in memory itself: their symbols and relocations
made those of the addresses that their section headers say.

LLVM registers such files: sh_addr is where each section was put; symbols and call frame
information, debug information are still relative. The types of relocations are those of
<elf.h>; only those that these sections have are known.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ...elf.headers import ET_EXEC, ET_REL
from ...errors import FormatError
from ..binary.elf_file import SHF_COMPRESSED, SHT_NOBITS, SHT_SYMTAB, ElfFile, Section
from ..binary.symbol_entries import entry_layout, section_and_value

_SHT_RELA, _SHT_REL = 4, 9
_MAX_SYMBOLS = 200_000
_SMALLEST = 8  # bytes of a relocation
_TYPE_OF_FILE = 16  # where e_type is
# machine: {type: (bytes, whether it is a distance from its own place)}
_KINDS: dict[int, dict[int, tuple[int, bool]]] = {
    62: {1: (8, False), 2: (4, True), 10: (4, False), 11: (4, False), 24: (8, True)},  # x86-64
    3: {1: (4, False), 2: (4, True)},  # i386
    183: {257: (8, False), 258: (4, False), 260: (8, True), 261: (4, True)},  # aarch64
    40: {2: (4, False), 3: (4, True)},  # arm
    21: {38: (8, False), 1: (4, False), 26: (4, True), 44: (8, True)},  # ppc64
    22: {4: (4, False), 5: (4, True), 22: (8, False), 23: (8, True)},  # s390x
}


def placed(elf: ElfFile) -> ElfFile:
    """The file itself where it is linked; of an object file a copy as if it were.

    FormatError where a relocation of its tables is of an unknown type or leads out of them.
    """
    if elf.header.type != ET_REL:
        return elf
    copy = bytearray(elf.data)
    struct.pack_into(elf.order + "H", copy, _TYPE_OF_FILE, ET_EXEC)
    symbols = _place_symbols(elf, copy)
    budget = len(copy) // _SMALLEST  # in a file where they do not share their bytes
    for section in elf.sections:
        if section.type in (_SHT_RELA, _SHT_REL) and budget > 0:
            budget -= _relocate(elf, copy, section, symbols, budget)
    return ElfFile(bytes(copy))


def _place_symbols(elf: ElfFile, copy: bytearray) -> list[int]:
    """Write the symbols' addresses into `copy`; they come back in their order."""
    table = next((one for one in elf.sections if one.type == SHT_SYMTAB), None)
    if table is None or table.flags & SHF_COMPRESSED:
        return []
    layout = entry_layout(elf)
    offset, cell = (8, "Q") if elf.wide else (4, "I")
    end = min(table.offset + table.size, len(copy))
    count = max(0, min((end - table.offset) // layout.size, _MAX_SYMBOLS))
    mask = (1 << 8 * struct.calcsize(cell)) - 1
    addresses = []
    for number in range(count):
        at = table.offset + number * layout.size
        row = layout.unpack_from(copy, at)
        index, value = section_and_value(elf, row)
        if 0 < index < len(elf.sections):
            value = value + elf.sections[index].address & mask
            struct.pack_into(elf.order + cell, copy, at + offset, value)
        addresses.append(value)
    return addresses


def _relocate(
    elf: ElfFile, copy: bytearray, table: Section, symbols: list[int], budget: int
) -> int:
    """Apply one table of relocations where it is of debug or call frame information; gives
    their number."""
    info = _target(elf, table)
    if info is None:
        return 0
    kinds = _KINDS.get(elf.header.machine, {})
    count = 0
    for offset, symbol, kind, addend in _rows(elf, table):
        if count >= budget:
            raise FormatError("too many relocations")
        count += 1
        if kind == 0:
            continue
        known = kinds.get(kind)
        if known is None:
            raise FormatError(f"a relocation of type {kind} for machine {elf.header.machine}")
        size, relative = known
        at = info.offset + offset
        if offset + size > info.size or at + size > len(copy) or symbol >= len(symbols):
            raise FormatError("a relocation outside of its section")
        if addend is None:
            addend = int.from_bytes(copy[at : at + size], elf.byte_order)
        value = symbols[symbol] + addend - (info.address + offset if relative else 0)
        copy[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, elf.byte_order)
    return count


def _target(elf: ElfFile, table: Section) -> Section | None:
    """The section that relocations are for, by its name, None where it is no table of ours."""
    prefix = b".rela" if table.type == _SHT_RELA else b".rel"
    name = table.name.removeprefix(prefix)
    if not name.startswith((b".debug_", b".eh_frame")):
        return None
    found = elf.section(name)
    if (
        table.flags & SHF_COMPRESSED
        or found is None
        or found.type == SHT_NOBITS
        or found.flags & SHF_COMPRESSED
    ):
        return None
    return found


def _rows(elf: ElfFile, table: Section) -> Iterator[tuple[int, int, int, int | None]]:
    """(offset, symbol, type, addend) of each relocation; the addend None where it is in place."""
    cells = ("QQ" if elf.wide else "II", "q" if elf.wide else "i")
    layout = struct.Struct(elf.order + cells[0] + (cells[1] if table.type == _SHT_RELA else ""))
    data = elf.contents(table)
    shift = 32 if elf.wide else 8
    for row in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
        yield row[0], row[1] >> shift, row[1] & (1 << shift) - 1, row[2] if row[2:] else None
