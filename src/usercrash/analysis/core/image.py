"""An ELF core file as the analysis sees it: threads, facts, mappings, memory.

Reads the kernel's cores (fs/binfmt_elf.c), gdb's gcore and our own minicore. The file
may be larger than memory (it is only mapped) and cut short anywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from copy import copy
from functools import partial
from mmap import mmap

from ...elf.arch import Arch, arch_of
from ...elf.headers import (
    EM_AARCH64,
    ET_CORE,
    ET_DYN,
    ET_EXEC,
    ET_REL,
    NT_AUXV,
    NT_FILE,
    NT_PRPSINFO,
    PT_LOAD,
    PT_NOTE,
    ElfHeader,
    ProgramHeader,
)
from ...errors import FormatError
from ...model import minicore
from ...model.event import CrashEvent
from ...model.maps import Mapping, parse_maps
from ...model.notes import NoteLog
from ...model.snapshot import ElfNote, MappedFile
from .core_mappings import made_mappings
from .core_notes import core_notes
from .core_segments import core_segments
from .core_threads import CoreThread, ThreadNotes, host_tids
from .elf_notes import (
    FileRow,
    PsInfo,
    parse_auxv,
    parse_file_note,
    parse_psinfo,
)

_MAX_NOTES = 2_000_000  # a thread has up to a dozen
_STAGE = "core"
_KINDS = {ET_REL: "an object file", ET_EXEC: "a program", ET_DYN: "a program or a library"}
_NT_ARM_PAC_MASK = 0x406  # <linux/elf.h>
_ALWAYS_ADDRESS = (1 << 36) - 1  # the smallest address space that the kernel gives


class CoreImage:
    """What a core holds. `threads[0]` is the one that crashed (or was chosen to stand first).

    `facts` are the minicore's (empty for other cores), `event` is None for other cores.
    `mappings` come from the facts, else from the program headers and NT_FILE. `notes` has
    what could not be read.
    """

    def __init__(self, data: bytes | mmap, header: ElfHeader, arch: Arch) -> None:
        self._view = memoryview(data)
        self.header = header
        self.machine = header.machine
        self.arch = arch
        self.event: CrashEvent | None = None
        self.facts: dict[bytes, bytes] = {}
        self.notes = NoteLog()
        self.files: list[MappedFile] = []
        self.threads: list[CoreThread] = []
        self.siginfo = b""
        self._note_places: set[tuple[int, int]] = set()
        self._note_bytes = self._note_count = 0
        self.auxv: dict[int, int] = {}
        self.psinfo: PsInfo | None = None
        self.file_rows: list[FileRow] = []
        self.mappings: list[Mapping] = []
        self._segments: list[tuple[int, int, int]] = []  # start, end, file offset; sorted
        self._starts: list[int] = []

    @classmethod
    def open(cls, data: bytes | mmap) -> CoreImage:
        """The image of a core file's bytes.

        FormatError if they are no ELF core of a known architecture, or tell nothing of a process.
        """
        if data[:4] != b"\x7fELF":
            raise FormatError("not a core file", "not an ELF file")
        header = ElfHeader(memoryview(data)[:64])
        if header.type != ET_CORE:
            raise FormatError("not a core file", _KINDS.get(header.type, "an ELF file"))
        arch = arch_of(header.machine, header.elf_class, header.order, header.flags)
        if arch is None:
            raise FormatError(
                f"a core of machine {header.machine} ({32 * header.elf_class} bits), "
                "which is not supported yet"
            )
        image = cls(data, header, arch)
        segments = core_segments(header, image._view, image.notes)
        image._take_notes(segments)
        image._take_loads(segments)
        image._finish_mappings(segments)
        image._check_notes(segments)
        return image

    def _check_notes(self, segments: list[ProgramHeader]) -> None:
        """Tell of what a core should have; a thread without registers where there is none."""
        if not any(thread.registers for thread in self.threads):
            if not (self.psinfo or self.auxv or self.file_rows or self.siginfo):
                table = self.header.phoff + self.header.phentsize * self.header.phnum
                whole = max([table, *(one.offset + one.filesz for one in segments)])
                size = len(self._view)
                cut = f": it is cut short, {size:,} of {whole:,} bytes" if size < whole else ""
                raise FormatError(f"a core file without any thread (NT_PRSTATUS){cut}")
            self.notes.add(_STAGE, "threads and their registers", "no NT_PRSTATUS that can be read")
            number = int.from_bytes(self.siginfo[:4], self.arch.byte_order)
            tid = self.psinfo.pid if self.psinfo is not None else 0
            self.threads = [CoreThread(tid, tid, number, {}, self.siginfo)]
        if not self.auxv:
            self.notes.add(_STAGE, "the auxiliary vector", "no NT_AUXV")
        if not self.file_rows and not self.facts.get(b"maps"):
            self.notes.add(_STAGE, "the list of mapped files", "no NT_FILE that can be read")

    # --- memory ---

    def read(self, address: int, size: int) -> bytes:
        """The captured bytes at `address`, at most `size`; ends at the first gap."""
        parts = []
        while size > 0:
            window = self.window(address)
            if window is None:
                break
            start, buffer = window
            piece = bytes(buffer[address - start : address - start + size])
            parts.append(piece)
            address += len(piece)
            size -= len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def window(self, address: int) -> tuple[int, memoryview] | None:
        """The captured piece that holds `address`: (its first address, its bytes, uncopied)."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start, end, offset = self._segments[index]
        if address >= end:
            return None
        return start, self._view[offset : offset + end - start]

    def next_captured(self, address: int) -> int | None:
        """The first address above `address` where a captured piece begins."""
        index = bisect_right(self._starts, address)
        return self._starts[index] if index < len(self._starts) else None

    def captured(self) -> Iterator[tuple[int, int]]:
        """The captured ranges of memory [start, end), in address order."""
        for start, end, _ in self._segments:
            yield start, end

    # --- headers ---

    def runs(self, header: ElfHeader) -> bool:
        """Whether a file with this header is for the core's machine: of its ABI and byte order."""
        return self.arch.runs(header.machine, header.elf_class, header.order, header.flags)

    def _take_loads(self, segments: list[ProgramHeader]) -> None:
        length = len(self._view)
        rows = []
        lost = 0
        for segment in segments:
            if segment.type != PT_LOAD or segment.filesz == 0:
                continue
            there = min(segment.offset + segment.filesz, length) - segment.offset
            if there < segment.filesz:
                lost += 1
            if there > 0:
                rows.append((segment.vaddr, segment.vaddr + there, segment.offset))
        if lost:
            self.notes.add(_STAGE, f"memory of {lost} segments", "the file is cut short")
        rows.sort()
        end = -1
        for row in rows:  # an overlap (no real core has one) would break the binary search
            if row[0] >= end:
                self._segments.append(row)
                end = row[1]
        self._starts = [row[0] for row in self._segments]

    # --- notes ---

    def _take_notes(self, segments: list[ProgramHeader]) -> None:
        found = ThreadNotes(self.arch, self.notes)
        for segment in segments:
            if segment.type != PT_NOTE:
                continue
            for note in self._notes_of(segment):
                if note.owner == minicore.OWNER:
                    self._take_own(note)
                elif not found.take(note):
                    self._take_process(note)
        tids = found.tids()
        self.threads = found.threads(host_tids(tids, self.facts, self.event))
        self.siginfo = self.threads[0].siginfo if self.threads else found.stray_siginfo()

    def _notes_of(self, segment: ProgramHeader) -> Iterator[ElfNote]:
        """The notes of one segment, each segment once, and all together no more bytes than the
        file has: headers that name the same bytes again and again would take hours."""
        if segment.offset + segment.filesz > len(self._view):
            self.notes.add(_STAGE, "some notes", "the file is cut short")
        data = self._view[segment.offset : segment.offset + segment.filesz]
        place = (segment.offset, len(data))
        again = place in self._note_places
        self._note_places.add(place)
        self._note_bytes += len(data)
        if again or self._note_bytes > len(self._view):
            self.notes.add(_STAGE, "some notes", "more than one header names the same bytes")
            return
        malformed = partial(self.notes.add, _STAGE, "some notes", "one is cut short or no note")
        for kind, start, stop, begin, end in core_notes(data, self.header.little, malformed):
            self._note_count += 1
            if self._note_count > _MAX_NOTES:
                self.notes.add(_STAGE, "some notes", f"there are more than {_MAX_NOTES:,}")
                return
            yield ElfNote(bytes(data[start:stop]).rstrip(b"\0"), kind, bytes(data[begin:end]))

    def _take_process(self, note: ElfNote) -> None:
        desc = note.desc
        if note.owner == b"LINUX" and note.type == _NT_ARM_PAC_MASK:
            self._take_signature_bits(desc)
        if note.owner != b"CORE":
            return
        if note.type == NT_AUXV and not self.auxv:
            self.auxv = parse_auxv(desc, self.arch)
        elif note.type == NT_FILE and not self.file_rows:
            self.file_rows = parse_file_note(desc, self.arch)
        elif note.type == NT_PRPSINFO and self.psinfo is None:
            self.psinfo = parse_psinfo(desc, self.arch)

    def _take_own(self, note: ElfNote) -> None:
        if note.type == minicore.NT_EVENT:
            self.event = CrashEvent.from_fields(minicore.decode_table(note.desc))
        elif note.type == minicore.NT_FACTS:
            self.facts = minicore.decode_table(note.desc)
        elif note.type == minicore.NT_NOTES:
            self.notes.extend(minicore.decode_soft_notes(note.desc))
        elif note.type == minicore.NT_FILES:
            self.files = minicore.decode_files(note.desc)

    def _take_signature_bits(self, desc: bytes) -> None:
        """struct user_pac_mask (arch/arm64/include/uapi/asm/ptrace.h): the bits of data pointers
        and of return addresses that are a signature."""
        if self.machine != EM_AARCH64 or len(desc) < 16:
            return
        bits = int.from_bytes(desc[8:16], self.arch.byte_order)
        if bits and not bits & _ALWAYS_ADDRESS:
            self.arch = copy(self.arch)
            self.arch.code_mask = self.arch.mask & ~bits

    # --- mappings ---

    def _finish_mappings(self, segments: list[ProgramHeader]) -> None:
        maps = self.facts.get(b"maps", b"")
        if maps:
            self.mappings = parse_maps(maps)
        else:
            self.mappings = made_mappings(segments, self.file_rows, self.auxv)
        self.mappings.sort(key=lambda mapping: mapping.start)
