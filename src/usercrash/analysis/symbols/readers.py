"""Which modules' DWARF is read by ourselves, and what for: names where no SymCache can be had,
columns (which a SymCache does not keep), call sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ...model.notes import NoteLog
from ..binary.elf_file import SHF_COMPRESSED, ElfFile
from ..core.file_search import HOST, SearchPlaces
from ..core.modules import Module
from ..dwarf.debug_info import DwarfFile
from ..dwarf.functions import CallSite
from ..dwarf.work import ANALYSIS_WORK, MODULE_WORK, TOO_MUCH, Work
from .debug_files import DebugFile, open_debug_file
from .debug_reader import DebugReader
from .file_symbols import FileSymbols, debug_owner, source_name
from .line_tables import Line
from .related_files import RelatedFiles

# Columns come from line programs run anew for each crash: where they are not compressed, in files
# of so many bytes of debug information, and no more bytes of programs in one analysis than this
_MAX_FOR_COLUMNS = 16 << 20  # (a small Rust program has 4 MiB of it, most of it its library)
_COLUMN_BUDGET = 32 << 10
_STAGE = "symbols"


@dataclass(slots=True)
class Readers:
    """The readers of one analysis, each made when it is first needed."""

    notes: NoteLog
    places: SearchPlaces = HOST
    missing: list[tuple[str, bytes]] = field(default_factory=list)
    _readers: dict[int, DebugReader | None] = field(default_factory=dict)
    _budget: int = _COLUMN_BUDGET
    _work: Work = field(default_factory=lambda: Work(ANALYSIS_WORK))
    _given_up: set[int] = field(default_factory=set)

    def share(self) -> Work:
        """What may be spent on one module, of what the analysis may."""
        return Work(MODULE_WORK, self._work)

    def names(self, module: Module, elf: ElfFile, found: FileSymbols) -> FileSymbols:
        """The symbols of a module with the lines that a reader gives, where `found` has none."""
        debug = None
        if not elf.debug_info_size:
            debug = open_debug_file(elf, module.path, elf.build_id, NoteLog(), self.places)
        reading = self._reading(module, elf, debug)
        if reading is None:
            return found
        lines = _Lines(reading, lambda: self._note_end(module))
        return replace(
            found, lines=lines, load_address=0, limited="", source=source_name(elf, debug)
        )

    def column(self, module: Module, vaddr: int, line: int) -> int | None:
        """The column at an address whose line is known, None where it would take too long."""
        elf = module.elf
        if elf is None or not 0 < elf.debug_info_size <= _MAX_FOR_COLUMNS:
            return None
        section = elf.section(b".debug_line")
        if section is None or section.flags & SHF_COMPRESSED:
            return None
        reading = self._reading(module, elf, None)
        if reading is None:
            return None
        found, column, cost = reading.row_at(vaddr, self._budget)
        self._note_end(module)
        self._budget -= min(cost, self._budget)
        return column or None if found == line else None

    def call_sites(self, module: Module, vaddr: int) -> list[CallSite]:
        """The calls in the function at a link-time address, as far as they are known."""
        reading = self._any_reading(module)
        found = reading.call_sites(vaddr) if reading is not None else []
        self._note_end(module)
        return found

    def reading(self, module: Module) -> DebugReader | None:
        """The reader of a module's debug information, None where there is none."""
        return self._any_reading(module)

    def lines(self, module: Module, vaddr: int) -> list[Line]:
        """The functions at a link-time address as the reader sees them, innermost first; one
        without a name where only a line is known."""
        reading = self._any_reading(module)
        found = reading.lookup(vaddr) if reading is not None else []
        self._note_end(module)
        return found

    def function_names(self, module: Module, vaddr: int) -> list[str]:
        """The names of the functions at a link-time address, innermost first, with the scopes
        around those that have no linker's name; empty where they are not known."""
        reading = self._any_reading(module)
        found = reading.names(vaddr) if reading is not None else []
        self._note_end(module)
        return found

    def _note_end(self, module: Module) -> None:
        """Say once that a module's debug information was too much."""
        key = id(module)
        reading = self._readers.get(key)
        if reading is not None and reading.exhausted and key not in self._given_up:
            self._given_up.add(key)
            self.notes.add(_STAGE, f"debug information of {module.name}", TOO_MUCH)

    def _any_reading(self, module: Module) -> DebugReader | None:
        elf = module.elf
        if elf is None:
            return None
        debug = None
        if id(module) not in self._readers and not elf.debug_info_size:
            debug = open_debug_file(elf, module.path, elf.build_id, NoteLog(), self.places)
        return self._reading(module, elf, debug)

    def _reading(self, module: Module, elf: ElfFile, debug: DebugFile | None) -> DebugReader | None:
        key = id(module)
        if key not in self._readers:
            owner = debug_owner(elf, debug)
            self._readers[key] = None
            if owner.debug_info_size:
                file = DwarfFile(owner, work=self.share())
                path = debug.path if debug is not None else module.path
                related = RelatedFiles(
                    file, module.path, path, self.notes, self.places, self.missing
                )
                self._readers[key] = DebugReader(file, related)
        return self._readers[key]


class _Lines:
    """What a reader tells; that it gave up is noted when it does."""

    def __init__(self, reading: DebugReader, note_end: Callable[[], None]) -> None:
        self._reading = reading
        self._note_end = note_end

    def lookup(self, address: int) -> list[Line]:
        """The functions at an address, innermost first; empty where there is none."""
        found = self._reading.lookup(address)
        self._note_end()
        return found
