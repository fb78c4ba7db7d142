"""Names and source lines for addresses: inlined functions first, as they stood on the stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...errors import FormatError
from ...model.notes import NoteLog
from ..binary.elf_file import ElfFile
from ..core.file_search import HOST, SearchPlaces
from ..core.modules import Module
from ..dwarf.functions import CallSite
from . import symcache
from .debug_files import open_debug_file
from .debug_reader import DebugReader
from .demangle import demangle
from .file_symbols import DEFAULT_MAX_DEBUG_BYTES, FileSymbols, convert, debug_owner
from .line_tables import NO_ADDRESS, Line, LineTable
from .linkage_stubs import LinkageStubs
from .readers import Readers

_STAGE = "symbols"
_MANGLED = ("_Z", "_R")
_ASSEMBLER = (".S", ".s", ".asm")
# All that one analysis converts, as a multiple of what it does of one file (0.5 s for 11 MB): of
# what is beyond, only the units are read that a stack asks for.
_CONVERTED = 3


@dataclass(frozen=True, slots=True)
class Location:
    """One function at an address.

    `function` is its name for people (demangled, with arguments for C++), `linkage_name` the
    linker's; `offset` is the address − the function's begin, None for an inlined function and
    where that is not known. `line` is that of the code in the innermost function, of the
    call in those around it. `column` is None where it is not known.
    """

    function: str | None
    linkage_name: str | None
    offset: int | None
    file: str | None
    line: int | None
    inline: bool = False
    column: int | None = None


UNKNOWN = Location(None, None, None, None, None)


class Symbolizer:
    """Names addresses of modules, for one analysis.

    `cache_dir` (None: none) is only read. `wanted` lists the modules whose symbols were made for
    this crash alone and may be shared: have `symcache.make` run for them elsewhere. `missing` lists
    what else would have helped, the most useful first: ("executable" or "debuginfo", build-id).
    Without `native`, no library reads names or debug information: symbol tables only, names as
    they stand.
    """

    def __init__(
        self,
        cache_dir: bytes | str | None,
        notes: NoteLog,
        *,
        owner: int = 0,
        max_debug_bytes: int = DEFAULT_MAX_DEBUG_BYTES,
        places: SearchPlaces = HOST,
        native: bool = True,
    ) -> None:
        self._cache_dir = cache_dir if native else None
        self._notes = notes
        self._owner = owner
        self._max_debug_bytes = max_debug_bytes if native else 0
        self._convertible = _CONVERTED * max_debug_bytes
        self._demangle = demangle if native else str
        self.places = places
        self.native = native
        self._files: dict[int, FileSymbols | None] = {}
        self._stubs: dict[int, LinkageStubs] = {}
        self._readers = Readers(notes, places)
        self._known: dict[tuple[int, int], tuple[list[Location], int | None]] = {}
        self.wanted: list[Module] = []
        self.missing: list[tuple[str, bytes]] = self._readers.missing

    def symbolize(
        self, module: Module | None, lookup_pc: int, pc: int | None = None
    ) -> list[Location]:
        """The functions at `lookup_pc` (an address in the process), innermost first; never empty.

        Offsets are those of `pc` where that is given (a frame's pc is one more than its
        lookup_pc when it is a return address).
        """
        if module is None:
            return [UNKNOWN]
        key = (id(module), lookup_pc)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._locations(module, lookup_pc - module.bias)
        locations, start = found
        if start is None:
            return locations
        offset = (lookup_pc if pc is None else pc) - module.bias - start
        return [*locations[:-1], replace(locations[-1], offset=offset)]

    def call_sites(self, module: Module, address: int) -> list[CallSite]:
        """The calls in the function at an address in the process, as far as debug information
        tells them; their addresses are those of the process."""
        if not self.native:
            return []
        return [
            replace(
                site,
                return_pc=site.return_pc + module.bias if site.return_pc is not None else None,
                target=site.target + module.bias if site.target is not None else None,
            )
            for site in self._readers.call_sites(module, address - module.bias)
        ]

    def reading(self, module: Module) -> DebugReader | None:
        """The reader of a module's debug information (its addresses are those of the file); None
        where there is none."""
        return self._readers.reading(module) if self.native else None

    def stubs(self, module: Module) -> LinkageStubs | None:
        """The stubs of a module's procedure linkage table; None where its file is not there."""
        if module.elf is None:
            return None
        key = id(module)
        if key not in self._stubs:
            self._stubs[key] = LinkageStubs(module.elf)
        return self._stubs[key]

    def source_of(self, module: Module) -> str:
        """Where a module's names come from, for people; "" if none were asked for."""
        found = self._files.get(id(module))
        return found.source if found is not None else ""

    # --- one address ---

    def _locations(self, module: Module, vaddr: int) -> tuple[list[Location], int | None]:
        """The functions, and the first address of the outermost (the real) one."""
        symbols = self._symbols(module)
        if symbols is None:
            return [UNKNOWN], None
        lines = symbols.lines.lookup(vaddr - symbols.load_address) if symbols.lines else []
        lines = [line for line in lines if line.line or line.file]
        named = symbols.symbols.find(vaddr)
        if (
            not lines
            and isinstance(symbols.lines, LineTable)
            and self._may_have_rows(module, named)
        ):
            lines = self._readers.lines(module, vaddr)
        if not lines:
            return (
                _by_go(module, vaddr)
                or self._by_stub(module, vaddr, named)
                or self._from_table(named)
            )
        start: int | None = None
        if lines[-1].start != NO_ADDRESS:
            start = lines[-1].start + symbols.load_address
        lines = self._with_scopes(module, vaddr, symbols, lines)
        locations = list(_locations_of(lines))
        if lines[0].file and not locations[0].column and lines[0].line:
            column = self._readers.column(module, vaddr, lines[0].line)
            if column is not None:
                locations[0] = replace(locations[0], column=column)
        if named is not None and (named[1] == start or not lines[-1].name):
            linkage = named[0].decode("utf-8", "backslashreplace")
            locations[-1] = _with_symbol(locations[-1], linkage, self._demangle(linkage))
            start = named[1]
        elif named is not None and (start is None or start > vaddr or named[1] > start):
            start = named[1]  # a part of the function that lies elsewhere (foo.cold)
        return locations, start if start is not None and start <= vaddr else None

    def _may_have_rows(self, module: Module, named: tuple[bytes, int] | None) -> bool:
        """Whether an address that a SymCache does not know may still have a line: it has none of
        functions without an entry (clang's -gmlt, assembler). Where the C library begins there is
        none, in each stack."""
        own = module.elf is not None and module.elf.debug_info_size > 0
        return self.native and own and (named is None or named[0] != b"_start")

    def _with_scopes(
        self, module: Module, vaddr: int, symbols: FileSymbols, lines: list[Line]
    ) -> list[Line]:
        """The lines with whole names for inlined functions that have none of the linker's: a
        SymCache keeps only what stands at their entry, without namespaces and classes."""
        if not isinstance(symbols.lines, LineTable) or not any(map(_is_bare, lines[:-1])):
            return lines
        whole = self._readers.function_names(module, vaddr)
        found = []
        for line in lines[:-1]:
            if _is_bare(line):
                ending = f"::{line.name}"
                at = next((at for at, one in enumerate(whole) if one.endswith(ending)), None)
                if at is not None:
                    line = replace(line, name=whole[at])
                    del whole[: at + 1]
            found.append(line)
        return [*found, lines[-1]]

    def _by_stub(
        self, module: Module, vaddr: int, named: tuple[bytes, int] | None
    ) -> tuple[list[Location], int | None] | None:
        """What a stub of the procedure linkage table is called, `strtol@plt`; None for other code.

        A symbol may reach into stubs where no section says that it ends."""
        stubs = self.stubs(module)
        if stubs is None or (named is not None and module.elf is not None and module.elf.sections):
            return None
        stub = stubs.at(vaddr)
        if stub is None or not stub.name or (named is not None and named[1] == stub.start):
            return None
        linkage = stub.name.decode("utf-8", "backslashreplace")
        location = Location(f"{self._demangle(linkage)}@plt", f"{linkage}@plt", None, None, None)
        return [location], stub.start

    def _from_table(self, named: tuple[bytes, int] | None) -> tuple[list[Location], int | None]:
        if named is None:
            return [UNKNOWN], None
        linkage = named[0].decode("utf-8", "backslashreplace")
        return [Location(self._demangle(linkage), linkage, None, None, None)], named[1]

    # --- one module ---

    def _symbols(self, module: Module) -> FileSymbols | None:
        key = id(module)
        if key not in self._files:
            self._files[key] = self._load(module)
        return self._files[key]

    def _load(self, module: Module) -> FileSymbols | None:
        elf = module.elf
        if elf is None:
            if module.build_id is not None:
                self.missing += [("executable", module.build_id), ("debuginfo", module.build_id)]
            return _from_memory(module)
        found = self._find(module, elf)
        if (
            found.lines is None
            and not found.limited
            and elf.build_id
            and elf is not module.memory_elf
        ):
            self.missing.append(("debuginfo", elf.build_id))
        if found.limited:
            self._notes.add(_STAGE, f"lines of {module.name}", found.limited)
        return found

    def _find(self, module: Module, elf: ElfFile) -> FileSymbols:
        status = os.fstat(module.fd) if module.fd >= 0 else None
        if status is not None and self._cache_dir is not None:
            kept = symcache.lookup(
                self._cache_dir, status, elf, module.path, self._notes, self.places
            )
            if kept is not None:
                return self._readers.names(module, elf, kept) if kept.limited else kept
        debug = None
        if not elf.debug_info_size:
            debug = open_debug_file(elf, module.path, elf.build_id, self._notes, self.places)
        most = min(self._max_debug_bytes, max(0, self._convertible))
        found = convert(elf, debug, most, self._readers.share())
        if found.lines is not None:
            self._convertible -= debug_owner(elf, debug).debug_info_size
        if status is not None and symcache.shareable(status, self._owner, module.fd):
            self.wanted.append(module)
        return self._readers.names(module, elf, found) if found.limited and self.native else found


def _is_bare(line: Line) -> bool:
    """Whether a function's name may lack the scopes around it."""
    return line.language in ("cpp", "rust") and bool(line.name) and line.name[:2] not in _MANGLED


def _by_go(module: Module, vaddr: int) -> tuple[list[Location], int | None] | None:
    """What Go's own function table says of an address, None where there is none."""
    table = module.elf.go_table if module.elf is not None else None
    if table is None:
        return None
    try:
        function = table.find(vaddr)
        place = table.line(function, vaddr) if function is not None else None
    except FormatError:
        return None
    if function is None or not function.name:
        return None
    name = function.name.decode("utf-8", "backslashreplace")
    file, line = place or (None, None)
    path = file.decode("utf-8", "backslashreplace") if file is not None else None
    return [Location(name, name, None, path, line)], function.start


def _from_memory(module: Module) -> FileSymbols | None:
    """What captured memory tells of a module whose file is gone."""
    if module.memory_symbols is None:
        return None
    table = module.memory_symbols()
    if not len(table):
        return None
    return FileSymbols(None, table, 0, "dynamic symbols in memory")


def _locations_of(lines: list[Line]) -> Iterator[Location]:
    last = len(lines) - 1
    for index, line in enumerate(lines):
        yield Location(
            demangle(line.name, line.language) if line.name else None,
            line.name or None,
            None,
            line.file or None,
            line.line or None,
            inline=index < last,
            column=line.column or None,
        )


def _with_symbol(location: Location, linkage: str, readable: str) -> Location:
    """A function with the linker's name for it, and with the name for people that this gives if
    debug information has none, only a short one, or (in assembler) that of another label."""
    whole = readable != linkage and location.function == location.linkage_name
    label = bool(location.file and location.file.endswith(_ASSEMBLER))
    if whole or label or location.function is None:
        return replace(location, function=readable, linkage_name=linkage)
    if location.linkage_name == linkage:
        return location
    return replace(location, linkage_name=linkage)
