"""Code made at run time, by the ELF files that its compiler keeps in memory for gdb.

The interface is that of gdb's documentation, "JIT Compilation Interface": a variable
`__jit_debug_descriptor` of the compiler's library,

    struct jit_descriptor { uint32_t version, action_flag;
                            struct jit_code_entry *relevant_entry, *first_entry; };
    struct jit_code_entry { struct jit_code_entry *next, *prev; const char *symfile_addr;
                            uint64_t symfile_size; };

All of it is the process's own memory: every count and size has a bound.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator

from ...elf.headers import ET_REL, PF_X
from ...errors import FormatError
from ..binary.elf_file import ElfFile
from ..binary.symbol_table import SHF_EXECINSTR
from ..dwarf.call_frames import CallFrames
from .image import CoreImage
from .jit_objects import placed
from .modules import Module, ModuleTable

VARIABLE = b"__jit_debug_descriptor"
PATH = b"[jit]"  # what such a module is called
MAX_ENTRIES = 8192
MAX_FILE = 16 << 20
MAX_BYTES = 64 << 20  # of all files together
_VERSION = 1
_LOOK_BACK = 16  # ranges of code to look back for one that encloses an address
_MAX_DESCRIPTORS = 16
_ALIGNED_TO_4 = ("i386", "m68k")  # where a uint64_t in a structure need not lie on 8 bytes
_STAGE = "modules"


class JitModules:
    """The files that a process's compilers registered; looked for at the first question."""

    def __init__(self, image: CoreImage, modules: ModuleTable) -> None:
        self._image = image
        self._modules = modules
        self._rows: list[tuple[int, int, Module]] | None = None  # ranges of code, by their starts
        self._starts: list[int] = []
        self._left = MAX_BYTES

    def find(self, address: int) -> Module | None:
        """The module made at run time that has code at an address in no file's mapping."""
        if self._rows is None:
            self._rows = []  # (what follows may ask again)
            self._rows = self._load()
            self._starts = [row[0] for row in self._rows]
        last = bisect_right(self._starts, address) - 1
        for index in range(last, max(-1, last - _LOOK_BACK), -1):
            if address < self._rows[index][1]:
                return self._rows[index][2]
        return None

    def _load(self) -> list[tuple[int, int, Module]]:
        rows = []
        for elf in self._files():
            module = self._module(elf)
            rows += [(start, end, module) for start, end in _code(elf)]
        # where two begin in one place, the one registered last, which the list has first
        rows.reverse()
        rows.sort(key=lambda row: row[0])
        return rows

    def _module(self, elf: ElfFile) -> Module:
        ranges = _code(elf)
        start = min((row[0] for row in ranges), default=0)
        end = max((row[1] for row in ranges), default=0)
        module = Module(PATH, start, end, 0, [], elf.build_id, elf=elf, memory_elf=elf)
        module.how = "memory"
        module.frames = CallFrames(elf, None, 0, self._image.read, self._note)
        return module

    def _note(self, why: str) -> None:
        self._image.notes.add(_STAGE, "code made at run time", why)

    # --- the list ---

    def _files(self) -> Iterator[ElfFile]:
        for number, address in enumerate(self._descriptors()):
            if number >= _MAX_DESCRIPTORS:
                break
            try:
                yield from self._listed(address)
            except FormatError as error:
                self._note(error.message)

    def _descriptors(self) -> Iterator[int]:
        """Where the variable lies, in each module that defines it."""
        seen = set()
        for module in self._modules:
            for value in module.addresses_of(VARIABLE):
                address = value & self._image.arch.mask
                if address not in seen:
                    seen.add(address)
                    yield address

    def _listed(self, address: int) -> Iterator[ElfFile]:
        """The files of one descriptor. FormatError says why there are no (more) of them."""
        arch = self._image.arch
        pointer = "Q" if arch.long == 8 else "I"
        head = struct.Struct(f"{arch.order}II{pointer}{pointer}")
        data = self._image.read(address, head.size)
        if len(data) < head.size:
            raise FormatError(f"{VARIABLE.decode()} at {address:#x} was not captured")
        version, _, _, entry = head.unpack(data)
        if version != _VERSION:
            raise FormatError(f"{VARIABLE.decode()} of version {version}, not {_VERSION}")
        gap = "4x" if arch.long == 4 and arch.name not in _ALIGNED_TO_4 else ""
        layout = struct.Struct(f"{arch.order}{pointer * 3}{gap}Q")
        seen: set[int] = set()
        while entry and entry not in seen:
            if len(seen) >= MAX_ENTRIES:
                raise FormatError(f"more than {MAX_ENTRIES} files are registered")
            seen.add(entry)
            data = self._image.read(entry, layout.size)
            if len(data) < layout.size:
                raise FormatError(f"the list of files goes on at {entry:#x}, not captured")
            following, _, start, size = layout.unpack(data)
            elf = self._file(start, size)
            if elf is not None:
                yield elf
            entry = following
        if entry:
            raise FormatError(f"the list of files returns to {entry:#x}")

    def _file(self, start: int, size: int) -> ElfFile | None:
        """One registered file, None where it is not there, or none."""
        if self._left <= 0:
            raise FormatError(f"more than {MAX_BYTES >> 20} MiB of files are registered")
        if not 0 < size <= MAX_FILE:
            self._note(f"a file of {size} bytes at {start:#x}: too large")
            return None
        data = self._image.read(start, size)
        self._left -= len(data)
        try:
            elf = ElfFile(data)
            if len(data) < size:
                raise FormatError("only a part of it was captured")
            if elf.header.machine != self._image.machine:
                raise FormatError(f"it is for machine {elf.header.machine}")
            if elf.header.type == ET_REL:  # costs more: each of its symbols and relocations
                self._left -= 3 * size
            return placed(elf)
        except FormatError as error:
            self._note(f"the file at {start:#x}: {error.message}")
            return None


def _code(elf: ElfFile) -> list[tuple[int, int]]:
    """The ranges of addresses that a file says to be code of its own."""
    found = [
        (section.address, section.address + section.size)
        for section in elf.sections
        if section.flags & SHF_EXECINSTR and section.address and section.size
    ]
    return found or [
        (row.vaddr, row.vaddr + row.memsz) for row in elf.loads if row.flags & PF_X and row.memsz
    ]
