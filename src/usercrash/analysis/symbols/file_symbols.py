"""What names a file's addresses: its debug information, made a SymCache by `symbolic` where that
can be done in time, and its symbol table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ...elf.headers import PT_LOAD
from ...errors import FormatError
from ..binary.elf_file import ElfFile
from ..binary.inflation import charge
from ..binary.symbol_table import SymbolTable
from ..dwarf.debug_info import DwarfFile
from ..dwarf.work import TOO_MUCH, Work
from .debug_files import DebugFile
from .debug_reader import needs_own_reader
from .line_tables import Line, LineTable

DEFAULT_MAX_DEBUG_BYTES = 64 << 20
_NOT_INFLATED = "its compressed debug information is more than one analysis inflates"
IN_OTHER_FILES = "debug information that lies in other files, too"


class Lines(Protocol):
    """What tells the functions at an address."""

    def lookup(self, address: int) -> list[Line]:
        """The functions at an address, innermost first; empty where there is none."""
        ...


@dataclass(slots=True)
class FileSymbols:
    """What names a file's addresses. `lines` is None where there is no debug information (or it
    was not converted: `limited` then says why); its addresses are relative to `load_address`."""

    lines: Lines | None
    symbols: SymbolTable
    load_address: int
    source: str
    limited: str = ""


def convert(
    elf: ElfFile,
    debug: DebugFile | None,
    max_debug_bytes: int = DEFAULT_MAX_DEBUG_BYTES,
    work: Work | None = None,
) -> FileSymbols:
    """Read a file's own or its separate debug information, and its symbol table. `work` bounds
    what is read by ourselves to know who can."""
    owner = debug_owner(elf, debug)
    symbols = elf.symbols
    if debug is not None and elf.section(b".symtab") is None:
        symbols = max(debug.elf.symbols, symbols, key=len)
    source = source_name(elf, debug)
    size = owner.debug_info_size
    if not size:
        return FileSymbols(None, symbols, 0, source)
    if size > max_debug_bytes:
        limited = f"{size >> 20} MiB of debug information, the limit is {max_debug_bytes >> 20}"
        return FileSymbols(None, symbols, 0, "symbol table", limited)
    # (without segments symbolic has nothing to count from, and 32 bits for an address)
    file = DwarfFile(owner, work=work)
    if not owner.loads or needs_own_reader(file):
        return FileSymbols(None, symbols, 0, "symbol table", IN_OTHER_FILES)
    if file.work.exhausted:
        return FileSymbols(None, symbols, 0, "symbol table", TOO_MUCH)
    if not charge(owner.compressed_debug_size):
        return FileSymbols(None, symbols, 0, "symbol table", _NOT_INFLATED)
    try:
        # symbolic would take a name from the symbol table (of several at one address any)
        # before the one in the debug information
        whole = len(owner.data) > 4 * max_debug_bytes  # too large to be copied for that
        lines = LineTable.convert(owner.view if whole else owner.without_symbols())
    except FormatError as error:
        return FileSymbols(None, symbols, 0, "symbol table", error.message)
    first = next((row.vaddr for row in owner.program_headers if row.type == PT_LOAD), 0)
    return FileSymbols(lines, symbols, first, source)


def debug_owner(elf: ElfFile, debug: DebugFile | None) -> ElfFile:
    """The file that has the debug information, if any has."""
    return debug.elf if debug is not None and not elf.debug_info_size else elf


def source_name(elf: ElfFile, debug: DebugFile | None) -> str:
    """Where names come from, for people."""
    if elf.debug_info_size:
        return "debug information in the file"
    if debug is not None:
        return f"debug file {debug.path.decode('utf-8', 'backslashreplace')}"
    if elf.section(b".symtab") is not None:
        return "symbol table"
    if elf.mini_debug is not None:
        return "dynamic symbols and .gnu_debugdata"
    return "dynamic symbols" if len(elf.symbols) else "none"
