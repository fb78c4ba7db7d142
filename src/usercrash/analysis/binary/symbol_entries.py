"""Entries of symbol tables (<elf.h>: Elf64_Sym, Elf32_Sym), and those of one name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .effort import SEARCHED_BYTES, spend

if TYPE_CHECKING:
    from .elf_file import ElfFile, Section

_SHT_SYMTAB, _SHT_DYNSYM = 2, 11
_MAX_PLACES = 4096  # of some bytes in one section


def entry_layout(elf: ElfFile) -> struct.Struct:
    """The layout of an entry in this file's tables. Of 64 bits: st_name, st_info, st_other,
    st_shndx, st_value, st_size; of 32 bits: st_name, st_value, st_size, st_info, st_other,
    st_shndx."""
    return struct.Struct(elf.order + ("IBBHQQ" if elf.wide else "IIIBBH"))


def section_and_value(elf: ElfFile, row: tuple[int, ...]) -> tuple[int, int]:
    """(st_shndx, st_value) of an entry."""
    return (row[3], row[4]) if elf.wide else (row[5], row[1])


def addresses_of(elf: ElfFile, name: bytes) -> list[int]:
    """The link-time addresses of the defined symbols of a name, in the symbol tables of a file.

    The names are searched, not the symbols: a large table costs a look at its bytes.
    """
    found: set[int] = set()
    for kind in (_SHT_SYMTAB, _SHT_DYNSYM):
        table = next((one for one in elf.sections if one.type == kind), None)
        if table is None or table.link >= len(elf.sections):
            continue
        for at in _places(elf, elf.sections[table.link], name + b"\0"):
            if not spend(1 + table.size // SEARCHED_BYTES):
                break  # (a made file has the name thousands of times)
            found.update(_values(elf, table, at))
    return sorted(found)


def _places(elf: ElfFile, section: Section, wanted: bytes) -> Iterator[int]:
    """Where some bytes stand in a section, searched as it lies in the file."""
    data = elf.data if not isinstance(elf.data, memoryview) else bytes(elf.data)
    end = min(section.offset + section.size, len(data))  # (numbers of 64 bits are too large)
    at = min(section.offset, len(data)) - 1
    for _ in range(_MAX_PLACES):
        at = data.find(wanted, at + 1, end)
        if at < 0:
            return
        yield at - section.offset


def _values(elf: ElfFile, table: Section, name: int) -> Iterator[int]:
    """The values of the defined symbols whose name is at a place of the names."""
    layout = entry_layout(elf)
    for at in _places(elf, table, struct.pack(elf.order + "I", name)):
        whole = table.offset + at + layout.size <= len(elf.view)
        if whole and at % layout.size == 0:
            section, value = section_and_value(elf, layout.unpack_from(elf.view, table.offset + at))
            if section and value:
                yield value
