"""The head of the core that the kernel writes into a pipe or socket: headers and notes."""

from __future__ import annotations

import os
import select
import time

from ..elf.headers import (
    EHDR64,
    ELFCLASS64,
    ET_CORE,
    NT_PRSTATUS,
    PHDR64,
    PN_XNUM,
    PT_NOTE,
    ElfHeader,
    iter_notes,
    parse_program_headers,
)
from ..errors import FormatError
from ..model.types import TYPE_CHECKING
from .procfs import reason

if TYPE_CHECKING:
    from ..model.notes import NoteLog
    from ..model.snapshot import ElfNote

HEAD_LIMIT = 64 << 20  # program headers and notes; 1,000 threads have 1.8 MB of them


class Stream:
    """Exact reads from the kernel's end, against one deadline.

    Nothing beyond what is asked for is taken: a small process would be let go
    when all of its core has been read. `data` keeps everything read.
    """

    __slots__ = ("_deadline", "_fd", "_poll", "data", "why")

    def __init__(self, fd: int, seconds: float) -> None:
        self._fd = fd
        self._deadline = time.monotonic() + seconds
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self.data = bytearray()
        self.why = ""  # why a read came back short

    def fill(self, size: int) -> bool:
        """Read until `data` holds `size` bytes; False if the stream ends or stalls before."""
        have = len(self.data)
        if have >= size:
            return True
        # All at once: the notes of 1,000 threads have megabytes, to be moved each time they grow.
        data = bytearray(size)
        data[:have] = self.data
        with memoryview(data) as view:
            while have < size and (count := self._read(view, have)):
                have += count
        del data[have:]
        self.data = data
        return have >= size

    def _read(self, view: memoryview, have: int) -> int:
        """Read what is there into `view` behind the first `have` bytes; 0 if nothing comes."""
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                self.why = "the kernel sent nothing more in time"
                return 0
            try:
                with view[have:] as rest:
                    count = os.readv(self._fd, (rest,))
            except BlockingIOError:
                continue
            except OSError as error:
                self.why = reason(error)
                return 0
            if not count:
                self.why = f"the stream ended after {have} bytes"
            return count


class Head:
    """What the head of a core says: machine, class and notes. All soft errors go to `notes`."""

    __slots__ = ("_all", "_first", "elf_class", "flags", "little", "machine", "raw")

    def __init__(self, stream: Stream, notes: NoteLog) -> None:
        self.machine = 0
        self.elf_class = 0
        self.little = True
        self.flags = 0
        self.raw = memoryview(b"")  # the notes as they came
        self._all: list[ElfNote] | None = None
        self._first: list[ElfNote] = []
        try:
            self._read(stream, notes)
        except FormatError as error:
            notes.add("core stream", "ELF header", error.message)

    @property
    def elf_notes(self) -> list[ElfNote]:
        """All notes. Of many threads it takes long: to be asked for when the process is gone."""
        if self._all is None:
            self._all = list(iter_notes(self.raw, self.little))
        return self._all

    def first_notes(self) -> list[ElfNote]:
        """The notes of the thread that dumps, among which are those of the process."""
        if not self._first:
            for note in iter_notes(self.raw, self.little):
                if note.type == NT_PRSTATUS and note.owner == b"CORE" and self._first:
                    break
                self._first.append(note)
        return self._first

    def _read(self, stream: Stream, notes: NoteLog) -> None:
        # One program header of a 64-bit core, too: a core of either class has so much.
        if not stream.fill(EHDR64.size + PHDR64.size) and len(stream.data) < EHDR64.size:
            notes.add("core stream", "ELF header", stream.why)
            return
        header = ElfHeader(bytes(stream.data))
        if header.type != ET_CORE:
            raise FormatError("not a core")
        self.machine, self.elf_class, self.little = header.machine, header.elf_class, header.little
        self.flags = header.flags
        offset, size = self._find_notes(header, stream, notes)
        if size == 0:
            return
        end = offset + size
        if end > HEAD_LIMIT:
            notes.add("core stream", "notes", f"{size} bytes of them: more than we keep")
            end = max(HEAD_LIMIT, offset)
        if not stream.fill(end):
            notes.add("core stream", "notes", stream.why)
        self.raw = memoryview(stream.data)[offset:end]

    @staticmethod
    def _find_notes(header: ElfHeader, stream: Stream, notes: NoteLog) -> tuple[int, int]:
        """Offset and size of PT_NOTE. The kernel writes its program header first, and the notes
        right after the program headers; so it is found where e_phnum overflowed, too."""
        step = 56 if header.elf_class == ELFCLASS64 else 32
        start = header.phoff
        if start > HEAD_LIMIT or not EHDR64.size >= header.phentsize >= step:
            raise FormatError("program headers in an odd place")
        count = 1 if header.phnum == PN_XNUM else header.phnum
        seen = 0
        while seen < count:
            if not stream.fill(start + (seen + 1) * header.phentsize):
                notes.add("core stream", "program headers", stream.why)
                break
            at = start + seen * header.phentsize
            row = parse_program_headers(header, bytes(stream.data[at : at + header.phentsize]), 1)
            if row and row[0].type == PT_NOTE:
                if row[0].offset < start or row[0].offset > HEAD_LIMIT:
                    raise FormatError("notes in an odd place")
                return row[0].offset, row[0].filesz
            seen += 1
        notes.add("core stream", "notes", "no PT_NOTE among the program headers")
        return 0, 0
