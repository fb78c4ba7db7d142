"""The program headers of a core, of which there may be more than its header can count."""

from __future__ import annotations

import struct

from ...elf.headers import (
    ELFCLASS64,
    PHDR32,
    PHDR64,
    PN_XNUM,
    PT_NOTE,
    ElfHeader,
    ProgramHeader,
    parse_program_headers,
)
from ...model.notes import NoteLog

MAX_SEGMENTS = 1 << 20
_STAGE = "core"


def core_segments(header: ElfHeader, data: memoryview, notes: NoteLog) -> list[ProgramHeader]:
    """The program headers of a core file; `notes` is told of those that `data` does not have."""
    count = header.phnum
    size = PHDR64.size if header.elf_class == ELFCLASS64 else PHDR32.size
    if count == PN_XNUM:
        count = _many_headers(header, data, size)
    if count > MAX_SEGMENTS:
        notes.add(_STAGE, f"{count - MAX_SEGMENTS} program headers", "too many")
        count = MAX_SEGMENTS
    step = max(header.phentsize, size)
    table = data[header.phoff : header.phoff + step * count]
    found = parse_program_headers(header, table, count)
    if len(found) < count:
        notes.add(_STAGE, f"{count - len(found)} program headers", "the file is cut short")
    return found


def _many_headers(header: ElfHeader, data: memoryview, size: int) -> int:
    """The number of program headers where e_phnum has no room for it.

    It stands in section header 0's sh_info; a stream that ends before the section
    header (which the kernel writes last) has the first PT_NOTE right behind the table.
    """
    layout = struct.Struct(header.order + ("44xI" if header.elf_class == ELFCLASS64 else "28xI"))
    if header.shoff and header.shoff + layout.size <= len(data):
        count: int = layout.unpack_from(data, header.shoff)[0]
        if count:
            return count
    first = parse_program_headers(header, data[header.phoff : header.phoff + size], 1)
    if first and first[0].type == PT_NOTE and first[0].offset > header.phoff:
        behind: int = first[0].offset - header.phoff
        return behind // size
    return PN_XNUM
