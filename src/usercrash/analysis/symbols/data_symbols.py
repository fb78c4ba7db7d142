"""Names of global data by address: variables, tables, vtables.

From `.symtab` of the file or of its debug file, else from the dynamic symbols. Only objects with a
size are believed, and only over that size: what lies between them has no name.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from ...errors import FormatError
from ...model.notes import NoteLog
from ..binary.dynamic_symbols import dynamic_symbols
from ..binary.effort import affordable
from ..binary.elf_file import ElfFile
from ..binary.symbol_entries import entry_layout
from ..binary.symbol_table import SymbolTable, beginning
from ..core.modules import Module
from .debug_files import open_debug_file
from .demangle import demangle
from .symbolizer import Symbolizer

# st_info of STT_OBJECT: local, global, weak, unique (<elf.h>: ELF64_ST_INFO)
_OBJECT = re.compile(rb"[\x01\x11\x21\xa1]")
_NOWHERE = (0, 0xFFF1, 0xFFF2)  # st_shndx: SHN_UNDEF, SHN_ABS, SHN_COMMON
# In one analysis: entries that are looked at (a byte of each), objects that are read (1 µs each).
_MAX_ENTRIES, _MAX_OBJECTS = 2_000_000, 24_000
_ENTRIES_A_STEP = 64
_NO_TABLE = SymbolTable((), (), (), b"")


@dataclass(slots=True)
class DataSymbols:
    """The objects of the modules of one analysis; each module's when it is first asked for.
    `read` gives captured memory, for modules whose files are gone."""

    symbolizer: Symbolizer
    read: Callable[[int, int], bytes]
    _tables: dict[int, SymbolTable] = field(default_factory=dict)
    _entries: int = _MAX_ENTRIES
    _objects: int = _MAX_OBJECTS

    def find(self, module: Module, address: int) -> tuple[str, int] | None:
        """(name for people, offset in it) of the object at an address in the process; None where
        none is known to be."""
        key = id(module)
        if key not in self._tables:
            self._tables[key] = self._load(module)
        found = self._tables[key].find(address - module.bias)
        if found is None:
            return None
        name = found[0].decode("utf-8", "backslashreplace")
        readable = demangle(name) if self.symbolizer.native else name
        return readable, address - module.bias - found[1]

    def _load(self, module: Module) -> SymbolTable:
        try:
            return self._of_file(module) if module.elf is not None else self._of_memory(module)
        except FormatError:
            return _NO_TABLE

    def _of_file(self, module: Module) -> SymbolTable:
        elf = module.elf
        assert elf is not None
        if not elf.sections:
            return self._table(elf, *dynamic_symbols(elf, elf.read_at, 0))
        owner = elf
        if elf.section(b".symtab") is None:
            places = self.symbolizer.places
            debug = open_debug_file(elf, module.path, elf.build_id, NoteLog(), places)
            if debug is not None and debug.elf.section(b".symtab") is not None:
                owner = debug.elf
        section = owner.section(b".symtab") or owner.section(b".dynsym")
        if section is None or section.link >= len(owner.sections):
            return _NO_TABLE
        strings = owner.contents(owner.sections[section.link])
        return self._table(owner, owner.contents(section), strings)

    def _of_memory(self, module: Module) -> SymbolTable:
        elf, bias = module.memory_elf, module.bias
        if elf is None:
            return _NO_TABLE
        symbols, strings = dynamic_symbols(
            elf, lambda address, size: self.read(address + bias, size), bias
        )
        return self._table(elf, symbols, strings)

    def _table(
        self, elf: ElfFile, symbols: bytes | memoryview, strings: bytes | memoryview
    ) -> SymbolTable:
        """The objects among the entries; none at all where they are too many."""
        layout = entry_layout(elf)
        count = len(symbols) // layout.size
        if count > self._entries or affordable(count // _ENTRIES_A_STEP) < count // _ENTRIES_A_STEP:
            return _NO_TABLE
        self._entries -= count
        kinds = bytes(symbols[4 if elf.wide else 12 : count * layout.size : layout.size])
        chosen = [match.start() for match in _OBJECT.finditer(kinds)]
        if len(chosen) > self._objects or affordable(len(chosen)) < len(chosen):
            return _NO_TABLE
        self._objects -= len(chosen)
        best: dict[int, tuple[int, int]] = {}
        wide, length = elf.wide, len(strings)
        for number in chosen:
            row = layout.unpack_from(symbols, number * layout.size)
            if wide:
                name, _, _, index, value, size = row
            else:
                name, value, size, _, _, index = row
            if index in _NOWHERE or not (value and size) or name >= length:
                continue
            known = best.get(value)
            # Of several names (environ, __environ) the one that sorts last, as of functions.
            if known is None or beginning(strings, known[1]) < beginning(strings, name):
                best[value] = (min(size, (1 << 63) - 1), name)
        starts = sorted(start for start, (_, name) in best.items() if strings[name])
        return SymbolTable(
            array("Q", starts),
            array("Q", [best[start][0] for start in starts]),
            array("Q", [best[start][1] for start in starts]),
            strings,
        )
