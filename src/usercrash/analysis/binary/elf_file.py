"""An ELF file's tables, parsed when they are asked for (System V gABI, <elf.h>).

The bytes come from a crashed program's files or memory: every offset is checked, every
table has a cap, and what is not there reads as absent. Only an ELF header that is no
ELF header raises (`FormatError`).
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from mmap import mmap
from typing import Literal

from ...elf.headers import (
    ELFCLASS64,
    NT_GNU_BUILD_ID,
    PN_XNUM,
    PT_GNU_EH_FRAME,
    PT_LOAD,
    PT_NOTE,
    ElfHeader,
    ProgramHeader,
    note_places,
    parse_program_headers,
)
from ...errors import FormatError
from .dynamic_symbols import DT_STRTAB, dynamic_tags
from .effort import affordable, spend
from .gopclntab import GoTable, go_table
from .inflation import ELFCOMPRESS_ZLIB, MAX_INFLATED, Inflater, charge, inflate
from .symbol_table import SymbolTable

MAX_SECTIONS = 200_000
MAX_PROGRAM_HEADERS = 1_000
MAX_NOTE_BYTES = 1 << 20  # of one segment
MAX_NOTE_SEGMENTS = 64
_SECTION_STEPS = 8  # each is looked at several times
_MAX_NAME = 256  # of a section; one with a longer name is nameless

SHT_SYMTAB, SHT_NOBITS, SHT_DYNSYM = 2, 8, 11
SHF_COMPRESSED = 0x800
DT_SONAME = 14


@dataclass(frozen=True, slots=True)
class Section:
    """A section header; `address` is the link-time address, `offset` and `size` are in the file."""

    name: bytes
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


class ElfFile:
    """A lazily parsed ELF file (or an image of one in memory, where only headers are true).

    `data` must stay alive and unchanged as long as anything taken from this object.
    """

    def __init__(self, data: bytes | mmap | memoryview) -> None:
        """FormatError unless `data` begins with an ELF header."""
        self.data = data
        self.view = memoryview(data)
        self.header = ElfHeader(self.view[:64])
        self.wide = self.header.elf_class == ELFCLASS64
        self.order = self.header.order

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """The byte order as int.from_bytes has it."""
        return "little" if self.header.little else "big"

    @cached_property
    def program_headers(self) -> list[ProgramHeader]:
        """All program headers; fewer where the file is cut short."""
        header = self.header
        count = header.phnum
        if count == PN_XNUM:
            count = self._section_zero()[2]
        count = affordable(min(count, MAX_PROGRAM_HEADERS))
        layout_size = 56 if self.wide else 32
        size = max(header.phentsize, layout_size) * count
        return parse_program_headers(header, self.view[header.phoff : header.phoff + size], count)

    @cached_property
    def loads(self) -> list[ProgramHeader]:
        """The PT_LOAD segments in address order."""
        found = [segment for segment in self.program_headers if segment.type == PT_LOAD]
        return sorted(found, key=lambda segment: segment.vaddr)

    def segment(self, kind: int) -> ProgramHeader | None:
        """The first program header of a type."""
        return next((row for row in self.program_headers if row.type == kind), None)

    # --- sections ---

    def _section_zero(self) -> tuple[int, int, int]:
        """(sh_size, sh_link, sh_info) of section header 0: the counts that do not fit elsewhere."""
        rows = self._section_rows(1)
        return (rows[0][5], rows[0][6], rows[0][7]) if rows else (0, 0, 0)

    def _section_rows(self, count: int) -> list[tuple[int, ...]]:
        header = self.header
        layout = struct.Struct(self.order + ("IIQQQQIIQQ" if self.wide else "IIIIIIIIII"))
        if header.shoff == 0 or header.shentsize != layout.size:
            return []
        table = self.view[header.shoff : header.shoff + layout.size * min(count, MAX_SECTIONS)]
        return list(layout.iter_unpack(table[: len(table) // layout.size * layout.size]))

    @cached_property
    def sections(self) -> list[Section]:
        """All sections with their names; empty for a file without (or with a broken) table."""
        header = self.header
        zero_size, zero_link, _ = self._section_zero()
        count = min(header.shnum or zero_size, MAX_SECTIONS)
        rows = self._section_rows(affordable(count * _SECTION_STEPS) // _SECTION_STEPS)
        names_index = zero_link if header.shstrndx == 0xFFFF else header.shstrndx
        names = b""
        if names_index < len(rows):
            offset, size = rows[names_index][4], rows[names_index][5]
            names = bytes(self.view[offset : offset + min(size, 1 << 24)])
        result = []
        for name, kind, flags, address, offset, size, link, *_ in rows:
            # bounded: all sections may share the end of one huge name
            end = names.find(b"\0", name, name + _MAX_NAME)
            text = names[name : end if end >= 0 else name]
            result.append(Section(text, kind, flags, address, offset, size, link))
        return result

    @cached_property
    def _section_by_name(self) -> dict[bytes, Section]:
        return {section.name: section for section in reversed(self.sections)}

    def section(self, name: bytes) -> Section | None:
        """The first section of that name, None if it has no bytes in the file."""
        found = self._section_by_name.get(name)
        return None if found is None or found.type == SHT_NOBITS else found

    def without_symbols(self) -> bytearray:
        """A copy of the file whose symbol tables are marked as unused (SHT_NULL)."""
        copy = bytearray(self.data)
        for number, section in enumerate(self.sections):
            if section.type in (SHT_SYMTAB, SHT_DYNSYM):
                at = self.header.shoff + number * self.header.shentsize + 4
                copy[at : at + 4] = bytes(4)
        return copy

    def contents(self, section: Section, limit: int = MAX_INFLATED) -> memoryview:
        """A section's bytes, inflated if it is compressed (empty if it does not inflate, cut at
        `limit`, and at the size that it claims)."""
        raw = self._raw(section)
        packed = self._packed(section, raw)
        if packed is None:
            return raw
        head, kind, size = packed
        return memoryview(inflate(raw[head:], kind, min(limit, size)))

    def inflater(self, section: Section) -> Inflater | None:
        """The same of a compressed section piece by piece; None for one that is not compressed."""
        raw = self._raw(section)
        packed = self._packed(section, raw)
        return Inflater(raw[packed[0] :], *packed[1:]) if packed is not None else None

    def _raw(self, section: Section) -> memoryview:
        return self.view[section.offset : section.offset + section.size]

    def _packed(self, section: Section, raw: memoryview) -> tuple[int, int, int] | None:
        """(bytes of the head, ELFCOMPRESS_* kind, size that it claims to have) of a compressed
        section, None for any other."""
        if section.flags & SHF_COMPRESSED:
            if len(raw) < (24 if self.wide else 12):
                return len(raw), 0, 0
            if self.wide:
                kind, _, size = struct.unpack_from(self.order + "IIQ", raw)
                return 24, kind, size
            return 12, *struct.unpack_from(self.order + "II", raw)
        if section.name.startswith(b".zdebug_") and bytes(raw[:4]) == b"ZLIB" and len(raw) >= 12:
            return 12, ELFCOMPRESS_ZLIB, int.from_bytes(raw[4:12], "big")
        return None

    def debug_section(self, name: bytes) -> Section | None:
        """The section `.debug_` + `name`, or its compressed forerunner `.zdebug_` + `name`."""
        return self.section(b".debug_" + name) or self.section(b".zdebug_" + name)

    # --- identity ---

    @cached_property
    def note_segments(self) -> list[ProgramHeader]:
        """The PT_NOTE segments, each place once."""
        notes = [one for one in self.program_headers if one.type == PT_NOTE]
        places = {(one.offset, one.filesz, one.vaddr, one.memsz): one for one in notes}
        return list(places.values())[:MAX_NOTE_SEGMENTS]

    @cached_property
    def build_id(self) -> bytes | None:
        """The GNU build-id, from the notes that the program headers or the sections name."""
        for segment in self.note_segments:
            found = self._build_id_in(segment.offset, segment.filesz)
            if found:
                return found
        section = self.section(b".note.gnu.build-id")
        return self._build_id_in(section.offset, section.size) if section else None

    def _build_id_in(self, offset: int, size: int) -> bytes | None:
        return build_id_of_notes(
            self.view[offset : offset + min(size, MAX_NOTE_BYTES)], self.header.little
        )

    @cached_property
    def soname(self) -> bytes:
        """DT_SONAME, b"" where there is none."""
        wanted = dynamic_tags(self, self.read_at)
        start = self.offset_of(wanted.get(DT_STRTAB, 0))
        if DT_SONAME not in wanted or start is None:
            return b""
        return self.text_at(start + wanted[DT_SONAME])

    def text_at(self, offset: int, limit: int = 4096) -> bytes:
        """The NUL-terminated bytes at a file offset, at most `limit` of them."""
        return bytes(self.view[offset : offset + limit]).partition(b"\0")[0]

    # --- addresses ---

    def offset_of(self, vaddr: int) -> int | None:
        """The file offset of a link-time address, None where the file holds no byte for it."""
        for segment in self.loads:
            if segment.vaddr <= vaddr < segment.vaddr + segment.filesz:
                return vaddr - segment.vaddr + segment.offset
        return None

    def read_at(self, vaddr: int, size: int) -> bytes:
        """At most `size` bytes of the file at a link-time address, from one segment."""
        for segment in self.loads:
            if segment.vaddr <= vaddr < segment.vaddr + segment.filesz:
                start = vaddr - segment.vaddr + segment.offset
                return bytes(self.view[start : min(start + size, segment.offset + segment.filesz)])
        return b""

    def segment_at(self, vaddr: int) -> ProgramHeader | None:
        """The PT_LOAD that holds a link-time address (also its zero-filled rest)."""
        for segment in self.loads:
            if segment.vaddr <= vaddr < segment.vaddr + segment.memsz:
                return segment
        return None

    @cached_property
    def symbols(self) -> SymbolTable:
        """The functions that its symbol tables name (none if there are more than memory holds)."""
        try:
            return SymbolTable.of(self)
        except MemoryError:
            return SymbolTable((), (), (), b"")

    @cached_property
    def go_table(self) -> GoTable | None:
        """Go's function table, None where it is no Go program."""
        return go_table(self)

    @cached_property
    def eh_frame_hdr(self) -> ProgramHeader | None:
        """Where `.eh_frame_hdr` lies."""
        return self.segment(PT_GNU_EH_FRAME)

    # --- where debug information lies ---

    @cached_property
    def debug_info_size(self) -> int:
        """Bytes of DWARF in this file, inflated; 0 where there is none."""
        names = (b".debug_info", b".zdebug_info")
        if not any(self.section(name) for name in names):
            return 0
        return sum(self._inflated_size(section) for section in self._debug_sections())

    def _debug_sections(self) -> Iterator[Section]:
        for section in self.sections:
            if section.type != SHT_NOBITS and section.name.startswith((b".debug_", b".zdebug_")):
                yield section

    def _inflated_size(self, section: Section) -> int:
        packed = self._packed(section, self._raw(section))
        return section.size if packed is None else packed[2]

    @property
    def compressed_debug_size(self) -> int:
        """What all compressed sections of DWARF claim to have, inflated."""
        packed = (self._packed(section, self._raw(section)) for section in self._debug_sections())
        return sum(one[2] for one in packed if one is not None)

    @cached_property
    def debug_link(self) -> tuple[bytes, int] | None:
        """`.gnu_debuglink`: (file name, CRC-32 of that file)."""
        section = self.section(b".gnu_debuglink")
        if section is None:
            return None
        data = bytes(self.contents(section)[:4200])
        name = data.partition(b"\0")[0]
        at = len(name) + 4 & ~3
        if not name or b"/" in name or at + 4 > len(data):
            return None
        return name, struct.unpack_from(self.order + "I", data, at)[0]

    @cached_property
    def mini_debug(self) -> ElfFile | None:
        """The ELF file inside `.gnu_debugdata` (xz), None where there is none that opens."""
        section = self.section(b".gnu_debugdata")
        if section is None:
            return None
        try:
            inflater = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=256 << 20)
            found = inflater.decompress(self.contents(section), MAX_INFLATED // 4)
            return ElfFile(found) if charge(len(found)) else None
        except (lzma.LZMAError, EOFError, FormatError):
            return None


def build_id_of_notes(data: bytes | memoryview, little: bool = True) -> bytes | None:
    """The build-id among a PT_NOTE's notes; None if there is none of a believable length."""
    return note_of(data, little, b"GNU", NT_GNU_BUILD_ID, range(2, 65))


def note_of(
    data: bytes | memoryview, little: bool, owner: bytes, kind: int, sizes: range
) -> bytes | None:
    """The contents of the first note of an owner and a type that are of a size among `sizes`;
    None if there is none."""
    for found, start, end, begin, stop in note_places(data, little):
        if not spend(1):
            return None
        fits = found == kind and stop - begin in sizes and end - start <= len(owner) + 4
        if fits and bytes(data[start:end]).rstrip(b"\0") == owner:
            return bytes(data[begin:stop])
    return None
