"""A module's call frame information, from its file or from captured memory."""

from __future__ import annotations

from collections.abc import Callable

from ...elf.headers import EM_AARCH64, EM_ARM
from ...errors import FormatError
from ..binary.elf_file import ElfFile, Section
from . import cfi
from .arm_index import PT_ARM_EXIDX, ArmIndex
from .cfi import FrameSection, Row
from .encodings import Buffer
from .frame_index import EhFrameHdr, FrameTable
from .go_rows import GoRows

_MAX_MEMORY = 16 << 20  # bytes of `.eh_frame` taken from captured memory
_MAX_SECTION = 128 << 20  # bytes that a compressed section may grow to

Read = Callable[[int, int], bytes]


class CallFrames:
    """Finds the row for a pc: `.eh_frame_hdr`, an index of `.eh_frame`, `.debug_frame`;
    without a file, what memory has of them; where there is no row in these, the separate debug
    file that `debug_file` finds when it is first needed. `problems` says what was broken,
    and `note` is told.

    Where both cover a pc, `.eh_frame` is taken: assemblers write the two from the same directives,
    and it needs no index. Go's function table comes behind both, but where it says that
    stacks begin or are changed.

    Addresses asked for are link-time ones; `read` reads the process's memory at run-time
    addresses, `bias` between the two.
    """

    def __init__(
        self,
        elf: ElfFile | None,
        memory_elf: ElfFile | None,
        bias: int,
        read: Read,
        note: Callable[[str], None] = lambda text: None,
        debug_file: Callable[[], ElfFile | None] | None = None,
    ) -> None:
        self._elf = elf
        self._memory_elf = memory_elf
        self._bias = bias
        self._read = read
        self._note = note
        self._debug_file = debug_file
        self._go: GoRows | None = None
        self._tables: list[FrameTable] | None = None
        self._arm_index: list[ArmIndex] | None = None
        headers = elf or memory_elf
        self._aarch64 = headers is not None and headers.header.machine == EM_AARCH64
        self.problems: list[str] = []

    def row(self, pc: int) -> Row | None:
        """The rules at a link-time pc, None where there are none (or only broken ones)."""
        if self._tables is None:
            self._tables = self._load()
        row = self._by_go(pc, True) or self._first(self._tables, pc) or self._by_go(pc, False)
        if row is None and self._debug_file is not None:
            more = self._separate(self._debug_file)
            self._debug_file = None
            self._tables += more
            row = self._first(more, pc)
        if row is not None:
            if self._go is not None and self._go.injected(pc):
                row.injected = True
            if self._aarch64:
                _count_pushed_link(row)
        return row

    def is_edge(self, pc: int) -> bool:
        """Whether rules begin at a link-time pc, or those of the code before it end there (and
        are none of a signal's trampoline)."""
        for table in self._tables if self._tables is not None else ():
            try:
                here, before = table.find(pc), table.find(pc - 1)
            except FormatError:
                continue
            around = [fde for fde in (here, before) if fde is not None]
            if around and (here is None or before is None or here.start != before.start):
                return not any(fde.cie.signal_frame for fde in around)
        return False

    def _by_go(self, pc: int, outermost: bool) -> Row | None:
        """The row by Go's function table: only one that ends or leaves a stack, or any."""
        if self._go is None:
            return None
        try:
            if outermost:
                return self._go.outermost(pc) or self._go.switched(pc)
            return self._go.row(pc)
        except FormatError as error:
            self._problem(f"Go's function table: {error.message}")
            return None

    def at_call(self, pc: int) -> Row | None:
        """The rules of `.ARM.exidx` at a link-time pc, true where it calls; None where there are
        none (or only broken ones)."""
        try:
            for index in self._index():
                return index.row(pc)
        except FormatError as error:
            self._problem(f"exception index for {pc:#x}: {error.message}")
        return None

    def start_by_index(self, pc: int) -> int | None:
        """Where the code begins whose entry in `.ARM.exidx` covers a link-time pc."""
        return next((index.start(pc) for index in self._index()), None)

    def start_by_entry(self, pc: int) -> int | None:
        """Where the code begins that the first entry for a link-time pc describes."""
        for table in self._tables or ():
            try:
                entry = table.find(pc)
            except FormatError:
                continue
            if entry is not None:
                return entry.start
        return None

    def _index(self) -> list[ArmIndex]:
        if self._arm_index is None:
            elf = self._elf or self._memory_elf
            segment = None
            if elf is not None and elf.header.machine == EM_ARM:
                segment = elf.segment(PT_ARM_EXIDX)
            if elf is None or segment is None:
                self._arm_index = []
                return self._arm_index
            table = self._at(segment.vaddr, min(segment.memsz, _MAX_MEMORY))
            self._arm_index = [ArmIndex(table, segment.vaddr, self._at, elf.order)]
        return self._arm_index

    def _at(self, vaddr: int, size: int) -> bytes:
        """Bytes at a link-time address, from the file or from memory."""
        start = self._elf.offset_of(vaddr) if self._elf is not None else None
        if self._elf is not None and start is not None:
            return bytes(self._elf.view[start : start + size])
        return self._read(vaddr + self._bias, size)

    def _first(self, tables: list[FrameTable], pc: int) -> Row | None:
        for table in tables:
            try:
                row = table.row(pc)
            except FormatError as error:
                self._problem(f"call frame information for {pc:#x}: {error.message}")
                continue
            if row is not None:
                return row
        return None

    def _separate(self, find: Callable[[], ElfFile | None]) -> list[FrameTable]:
        """The tables of the separate debug file (whose `.eh_frame` mostly has no contents)."""
        elf = find()
        if elf is None:
            return []
        try:
            return self._debug_frame(elf)
        except FormatError as error:
            self._problem(f"call frame information: {error.message}")
            return []

    def _debug_frame(self, elf: ElfFile) -> list[FrameTable]:
        section = elf.debug_section(b"frame")
        if section is None:
            return []
        return [FrameTable(self._section(elf, section, debug_frame=True))]

    def _problem(self, text: str) -> None:
        if len(self.problems) < 20:
            self.problems.append(text)
            self._note(text)

    def _load(self) -> list[FrameTable]:
        tables = []
        elf = self._elf
        try:
            if elf is not None:
                found = self._eh_frame(elf)
                if found is not None:
                    tables.append(found)
                tables += self._debug_frame(elf)
                if elf.go_table is not None:
                    self._go = GoRows(elf.go_table, elf.header.machine, elf.read_at)
            elif self._memory_elf is not None:
                found = self._from_memory(self._memory_elf)
                if found is not None:
                    tables.append(found)
        except FormatError as error:
            self._problem(f"call frame information: {error.message}")
        return tables

    def _section(self, elf: ElfFile, section: Section, debug_frame: bool = False) -> FrameSection:
        return FrameSection(
            elf.contents(section, _MAX_SECTION), section.address, debug_frame=debug_frame,
            word=8 if elf.wide else 4, order=elf.order, machine=elf.header.machine,
            text=_section_address(elf, b".text"), data_base=_section_address(elf, b".got"),
        )  # fmt: skip

    def _eh_frame(self, elf: ElfFile) -> FrameTable | None:
        """`.eh_frame` of a file, with its `.eh_frame_hdr` where it has one."""
        header = None
        segment = elf.eh_frame_hdr
        if segment is not None:
            raw = elf.view[segment.offset : segment.offset + segment.filesz]
            try:
                header = EhFrameHdr(raw, segment.vaddr, 8 if elf.wide else 4, elf.order)
            except FormatError as error:
                self._problem(error.message)
        section = elf.section(b".eh_frame")
        if section is not None and (header is None or header.eh_frame == section.address):
            return FrameTable(self._section(elf, section), header)
        if header is None:
            return None
        # no (true) section table: from where the header points to the end of that segment
        start = elf.offset_of(header.eh_frame)
        load = elf.segment_at(header.eh_frame)
        if start is None or load is None:
            return None
        data = elf.view[start : load.offset + load.filesz]
        return FrameTable(self._bare(data, header.eh_frame, elf), header)

    def _from_memory(self, elf: ElfFile) -> FrameTable | None:
        """The same from captured memory; only what `.eh_frame_hdr` leads to can be found there."""
        segment = elf.eh_frame_hdr
        if segment is None:
            return None
        raw = self._read(segment.vaddr + self._bias, min(segment.memsz, _MAX_MEMORY))
        if not raw:
            return None
        header = EhFrameHdr(raw, segment.vaddr, 8 if elf.wide else 4, elf.order)
        load = elf.segment_at(header.eh_frame)
        if load is None:
            return None
        size = min(load.vaddr + load.memsz - header.eh_frame, _MAX_MEMORY)
        data = self._read(header.eh_frame + self._bias, size)
        return FrameTable(self._bare(data, header.eh_frame, elf), header)

    def _bare(self, data: Buffer, address: int, elf: ElfFile) -> FrameSection:
        return FrameSection(
            data, address, word=8 if elf.wide else 4, order=elf.order, machine=elf.header.machine
        )


def _count_pushed_link(row: Row) -> None:
    """Lift the CFA to the caller's stack pointer where the return address lies above it: the head
    of a procedure linkage table pushed it, with another word below, before this code began. glibc's
    `_dl_runtime_resolve` for AArch64 says so, and forgets these words in its CFA."""
    kind, place = row.rules.get(row.return_column, (cfi.UNDEFINED, 0))
    if kind != cfi.OFFSET or not isinstance(place, int) or place < 0:
        return
    row.cfa_offset += place + 8
    for register, (kind, value) in row.rules.items():
        if kind in (cfi.OFFSET, cfi.VAL_OFFSET) and isinstance(value, int):
            row.rules[register] = (kind, value - place - 8)


def _section_address(elf: ElfFile, name: bytes) -> int:
    section = elf.section(name)
    return section.address if section is not None else 0
