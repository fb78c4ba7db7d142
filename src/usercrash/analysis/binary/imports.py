"""What the dynamic linker fills in for a file, and what it finds there for others: the words of the
global offset table with the functions that they are to hold, and functions by their names.

System V gABI chapter 5 (DT_JMPREL, DT_RELA, DT_HASH), DT_GNU_HASH as glibc's dl-lookup.c reads it.
All by PT_DYNAMIC: no section header is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from ...elf.headers import EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_S390, EM_X86_64
from .dynamic_symbols import DT_GNU_HASH, DT_HASH, DT_STRTAB, DT_SYMTAB, dynamic_tags
from .effort import affordable, spend
from .symbol_entries import entry_layout, section_and_value

if TYPE_CHECKING:
    from .elf_file import ElfFile

DT_PLTGOT = 3
_DT_PLTRELSZ, _DT_RELA, _DT_RELASZ, _DT_REL, _DT_RELSZ = 2, 7, 8, 17, 18
_DT_PLTREL, _DT_JMPREL = 20, 23
_EM_RISCV = 243
# (JUMP_SLOT, GLOB_DAT) of each psABI; that of RISC-V has no GLOB_DAT of its own
_FILLED = {
    EM_386: (7, 6), EM_X86_64: (7, 6), EM_ARM: (22, 21), EM_AARCH64: (1026, 1025),
    EM_PPC64: (21, 20), EM_S390: (11, 10), _EM_RISCV: (5, 5),
}  # fmt: skip
_STT_NOTYPE, _STT_FUNC, _STT_GNU_IFUNC = 0, 2, 10
_MAX_RELOCATIONS = 1_000_000
_MAX_CHAIN = 1024  # symbols of one bucket that are looked at
_LOOKUP_READS = 16  # of a file for one name
_MAX_NAME = 16_384


class Imports:
    """The linkage of one file, each part read when it is first asked for."""

    def __init__(self, elf: ElfFile) -> None:
        self._elf = elf
        self._tags = dynamic_tags(elf, elf.read_at)
        self._symbol = entry_layout(elf)

    @property
    def table(self) -> int:
        """DT_PLTGOT, 0 where there is none."""
        return self._tags.get(DT_PLTGOT, 0)

    def name_of(self, slot: int | None, number: int | None) -> bytes | None:
        """The function that a word of the global offset table (its link-time address) is to hold,
        or that the relocation of this number in DT_JMPREL is for. None where it has no name, as an
        indirect function of the file itself; or where the word is not the dynamic linker's."""
        symbol = self.symbol_of(slot, number)
        return self._name(symbol) or None if symbol else None

    def symbol_of(self, slot: int | None, number: int | None = None) -> int | None:
        """The number of the symbol of the same; 0 where the word is filled in by other means, None
        where it is not the dynamic linker's."""
        numbered, slots = self._linked
        if slot in slots:
            return slots[slot]
        if slot is None:
            known = number is not None and 0 <= number < len(numbered)
            return numbered[number] if known and number is not None else None
        return self._data.get(slot)

    @cached_property
    def _linked(self) -> tuple[list[int], dict[int | None, int]]:
        """The symbols of DT_JMPREL in its order, and by the words."""
        tags = self._tags
        kinds = _FILLED.get(self._elf.header.machine, ())
        numbered: list[int] = []
        slots: dict[int | None, int] = {}
        rela = tags.get(_DT_PLTREL) == _DT_RELA
        for place, kind, symbol in self._relocations(_DT_JMPREL, _DT_PLTRELSZ, rela):
            numbered.append(symbol if kind in kinds else 0)
            slots.setdefault(place, numbered[-1])
        return numbered, slots

    @cached_property
    def _data(self) -> dict[int, int]:
        """The symbols of the words that are filled in at the start, and hold functions' addresses
        or those of data."""
        kinds = _FILLED.get(self._elf.header.machine, ())
        found: dict[int, int] = {}
        for tag, size, rela in ((_DT_RELA, _DT_RELASZ, True), (_DT_REL, _DT_RELSZ, False)):
            for place, kind, symbol in self._relocations(tag, size, rela):
                if kind in kinds:
                    found.setdefault(place, symbol)
        return found

    def _relocations(self, tag: int, size: int, rela: bool) -> Iterator[tuple[int, int, int]]:
        """(word, type, symbol) of a table that the dynamic section names (Elf64_Rela, Elf64_Rel,
        Elf32_Rela, Elf32_Rel)."""
        elf = self._elf
        wide = elf.wide
        layout = struct.Struct(elf.order + (("QQq" if rela else "QQ") if wide else
                                            ("IIi" if rela else "II")))  # fmt: skip
        start = self._tags.get(tag)
        if start is None:
            return
        count = affordable(min(self._tags.get(size, 0) // layout.size, _MAX_RELOCATIONS))
        table = elf.read_at(start, count * layout.size)
        shift, mask = (32, (1 << 32) - 1) if wide else (8, 0xFF)
        for place, info, *_ in layout.iter_unpack(table[: len(table) // layout.size * layout.size]):
            yield place, info & mask, info >> shift

    # --- symbols ---

    @cached_property
    def _reading(self) -> int:
        """Steps that it takes to read something at an address."""
        return 1 + len(self._elf.loads) // 16

    def _row(self, symbol: int) -> tuple[int, ...] | None:
        at = self._tags.get(DT_SYMTAB, 0) + symbol * self._symbol.size
        data = self._elf.read_at(at, self._symbol.size)
        return self._symbol.unpack(data) if len(data) == self._symbol.size else None

    def _name(self, symbol: int) -> bytes:
        row = self._row(symbol)
        return self._text(row) if row is not None else b""

    def _text(self, row: tuple[int, ...]) -> bytes:
        strings = self._tags.get(DT_STRTAB)
        if strings is None:
            return b""
        return self._elf.read_at(strings + row[0], _MAX_NAME).partition(b"\0")[0]

    def functions(self, name: bytes) -> set[int | None]:
        """The link-time addresses of the functions that the file has for others under a name:
        several where there are several versions, None for one whose place is only known at run
        time (an indirect function), or where it was not looked for."""
        if not spend(_LOOKUP_READS * self._reading):
            return {None}
        found: set[int | None] = set()
        for number in self._candidates(name):
            row = self._row(number) if spend(self._reading) else None
            if row is None:
                return {None}
            section, value = section_and_value(self._elf, row)
            kind = (row[1] if self._elf.wide else row[3]) & 15
            if not section or not value or self._text(row) != name:
                continue
            if kind == _STT_GNU_IFUNC:
                found.add(None)
            elif kind in (_STT_FUNC, _STT_NOTYPE):
                thumb = 1 if self._elf.header.machine == EM_ARM else 0
                found.add(value & ~thumb)
        return found

    def _candidates(self, name: bytes) -> Iterator[int]:
        """The numbers of the symbols that may have this name."""
        if DT_GNU_HASH in self._tags:
            return self._by_gnu_hash(name, self._tags[DT_GNU_HASH])
        if DT_HASH in self._tags:
            return self._by_hash(name, self._tags[DT_HASH])
        return iter(())

    def _by_gnu_hash(self, name: bytes, at: int) -> Iterator[int]:
        code = 5381
        for byte in name:
            code = code * 33 + byte & 0xFFFFFFFF
        buckets, first, bloom = (self._word(at + 4 * number) for number in range(3))
        if not buckets:
            return
        at += 16 + bloom * (8 if self._elf.wide else 4)
        symbol = self._word(at + 4 * (code % buckets))
        if not symbol or symbol < first:
            return
        chain = self._elf.read_at(at + 4 * (buckets + symbol - first), 4 * _MAX_CHAIN)
        chain = chain[: len(chain) & -4]
        for number, (word,) in enumerate(struct.iter_unpack(self._elf.order + "I", chain), symbol):
            if word | 1 == code | 1:
                yield number
            if word & 1:
                return

    def _by_hash(self, name: bytes, at: int) -> Iterator[int]:
        size = 8 if self._elf.wide and self._elf.header.machine == EM_S390 else 4
        code = 0
        for byte in name:
            code = (code << 4) + byte
            code = (code ^ (code >> 24 & 0xF0)) & 0x0FFFFFFF
        buckets = self._word(at, size)
        if not buckets:
            return
        symbol = self._word(at + size * (2 + code % buckets), size)
        for _ in range(_MAX_CHAIN):
            if not symbol or not spend(self._reading):
                return
            yield symbol
            symbol = self._word(at + size * (2 + buckets + symbol), size)

    def _word(self, at: int, size: int = 4) -> int:
        return int.from_bytes(self._elf.read_at(at, size), self._elf.byte_order)
