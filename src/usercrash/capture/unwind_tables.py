"""What the analysis needs of modules whose files could not be opened: their call frame information
and dynamic symbols, as they lie in memory. Imported only where there are such."""

from __future__ import annotations

from ..elf.headers import (
    PT_DYNAMIC,
    PT_GNU_EH_FRAME,
    PT_LOAD,
    ElfHeader,
    parse_program_headers,
)
from ..errors import FormatError
from ..model.types import TYPE_CHECKING
from .procfs import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..model.snapshot import MappedFile
    from .procfs import MapTable

MAX_BYTES = 6 << 20  # of all modules together
_MAX_MODULES = 32
_MAX_FRAMES = 1 << 20  # of one module's call frame information
_MAX_SYMBOLS = 192 << 10  # of the segment that begins with the headers: hash table, symbols, names
_MAX_DYNAMIC = 4096


def unwind_tables(
    maps: MapTable, lost: list[MappedFile], read: Callable[[int, int], bytes]
) -> Iterator[tuple[int, int, str]]:
    """(address, size, what it is) for the modules of `lost` files, call frames first."""
    wanted = {(file.device, file.inode) for file in lost}
    later: list[tuple[int, int, str]] = []
    for mapping in maps.modules():
        if mapping.offset or (mapping.device, mapping.inode) not in wanted:
            continue
        if len(later) >= 2 * _MAX_MODULES:
            break
        for address, size, what in _of_module(mapping.start, read(mapping.start, PAGE)):
            if what == "call frames":
                yield address, size, what
            else:
                later.append((address, size, what))
    yield from later


def _of_module(start: int, page: bytes) -> Iterator[tuple[int, int, str]]:
    """The ranges of the module whose headers are on the page at `start`."""
    try:
        header = ElfHeader(page[:64])
    except FormatError:
        return
    rows = parse_program_headers(header, page[header.phoff :], min(header.phnum, 64))
    loads = [row for row in rows if row.type == PT_LOAD]
    if not loads:
        return
    bias = start - loads[0].vaddr + loads[0].offset
    for row in rows:
        if row.type == PT_GNU_EH_FRAME:
            # .eh_frame follows its header, in the same segment
            end = max((one.vaddr + one.memsz for one in loads if one.vaddr <= row.vaddr), default=0)
            yield row.vaddr + bias, min(end - row.vaddr, _MAX_FRAMES), "call frames"
        elif row.type == PT_DYNAMIC:
            yield row.vaddr + bias, min(row.memsz, _MAX_DYNAMIC), "dynamic section"
    yield start, min(loads[0].filesz, _MAX_SYMBOLS), "dynamic symbols"
