"""What the stacks of an interpreted program are read from, taken while the process is held.

The walk that the analysis will make (cpython/walk.py) is made here, too, and all memory
that it reads is kept: a few KB of any heap. Imported only where the maps show an interpreter.
"""

from __future__ import annotations

import time

from ..cpython.find import Found, find, is_worth_asking
from ..cpython.walk import Limits, walk
from ..elf.headers import PT_DYNAMIC, PT_LOAD, ElfHeader, parse_program_headers
from ..errors import FormatError
from ..model.types import TYPE_CHECKING
from .link_map import find_symbol
from .procfs import PAGE

if TYPE_CHECKING:
    from ..interpreter_calls import Found as FoundCalls
    from ..model.notes import NoteLog
    from ..model.snapshot import ThreadState
    from .memory import Memory
    from .procfs import MapTable

FACT = b"@cpython"  # where its runtime is, of which version, which file has it
SECONDS = 0.06  # held for all of them together, at most: nothing is read any more then
MAX_BYTES = 16 << 20
_GRAIN = 64  # as in plan.py: elfutils wants pieces that begin at multiples of something
_JOIN = 256  # bytes between two reads of a page that are kept along with them
_TCB = "fs_base"


class Interpreters:
    """The interpreter of a held process. `look` reads while it is held, `pieces` puts in order
    what was read when it has been let go."""

    def __init__(self, memory: Memory, notes: NoteLog, room: int = MAX_BYTES) -> None:
        """`room`: bytes that may be kept, at most MAX_BYTES."""
        self._memory = memory
        self._notes = notes
        self._touched: dict[int, bytes] = {}  # by address
        self._left = self._room = min(room, MAX_BYTES)
        self._end = float("inf")  # until one is looked for
        self._late = False
        self.fact = b""
        self.calls: dict[bytes, bytes] = {}  # facts @perl, @php, @ruby

    def look_for_perl(self, maps: MapTable) -> None:
        """Walk the calls of a Perl interpreter's main thread."""
        from ..perl import walk as perl

        self._begin()
        found = perl.find(self.read, _first_pages(maps), self._symbol)
        if found is not None and found.layout is not None:
            perl.walk(self.read, found, seconds=SECONDS)
            self.calls[b"@perl"] = calls_fact(found)
        self._note_time("perl")

    def look_for_php(self, maps: MapTable) -> None:
        """Walk the calls of a PHP interpreter."""
        from ..php import walk as php

        self._begin()
        found = php.find(self.read, _first_pages(maps), self._symbol)
        if found is not None and found.layout is not None:
            php.walk(self.read, found, seconds=SECONDS)
            self.calls[b"@php"] = calls_fact(found)
        self._note_time("php")

    def look_for_ruby(self, maps: MapTable, threads: list[ThreadState]) -> None:
        """Walk the calls of a Ruby interpreter's threads, of the first of `threads` before all
        others."""
        from ..ruby import walk as ruby

        self._begin()
        late = False
        found = ruby.find(self.read, _first_pages(maps), self._symbol)
        if found is not None and found.layout is not None:
            first = threads[0].registers.get(_TCB, 0) if threads else 0
            until = time.monotonic() + SECONDS
            ruby.walk(self.read, found, seconds=SECONDS, first=first)
            late = time.monotonic() > until
            self.calls[b"@ruby"] = calls_fact(found)
        self._note_time("ruby", late=late)

    def look(self, maps: MapTable, threads: list[ThreadState], *, variables: bool = False) -> None:
        """Walk the threads of the interpreter, the first of `threads` before all others; with
        `variables`, the values of local ones, too."""
        self._begin()
        modules: list[tuple[bytes, int]] = []
        for mapping in maps.modules():
            if mapping.offset == 0 and (not modules or is_worth_asking(mapping.path)):
                modules.append((mapping.path, mapping.start))
        found = find(self.read, modules, self._symbol)
        if found is None:
            self._note_time("python")
            return
        self.fact = fact_of(found)
        first = (0, 0)
        if threads:
            first = threads[0].tid, threads[0].registers.get(_TCB, 0)
        walked = walk(self.read, found, first, Limits(seconds=SECONDS, variables=variables))
        if (walked is not None and walked.cut) or self._late:
            self._notes.add("python", "some frames of its threads", "no time left")
        if self._left <= 0:
            self._notes.add("python", "some memory", f"more than {max(self._room, 0)} bytes")

    def read(self, address: int, size: int) -> bytes:
        """The bytes at an address, which are kept."""
        if self._left <= 0 or self._is_late():
            return b""
        start = address & -_GRAIN
        skip = address - start
        data = self._memory.read(start, skip + size + _GRAIN - 1 & -_GRAIN)
        if len(data) > len(self._touched.get(start, b"")):
            self._touched[start] = data
            self._left -= len(data)
        return data[skip : skip + size]

    def _is_late(self) -> bool:
        self._late = self._late or time.monotonic() > self._end
        return self._late

    def _note_time(self, stage: str, *, late: bool = False) -> None:
        """A note if there was none left, be it for finding an interpreter."""
        if self._late or late:
            self._notes.add(stage, "some of its frames", "no time left")

    def _begin(self) -> None:
        """One time for all that is looked for."""
        self._end = min(self._end, time.monotonic() + SECONDS)

    def _symbol(self, start: int, name: bytes) -> int:
        if self._is_late():
            return 0
        bias, dynamic = dynamic_of(self._memory.read(start, PAGE), start)
        return find_symbol(self._memory.read, bias, dynamic, name) if dynamic else 0

    def pieces(self, known: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """The memory that was read, without what is among the `known` pieces; adjacent and close
        reads of one page as one piece."""
        taken: list[tuple[int, bytes]] = []
        blocked = sorted((address, address + len(data)) for address, data in known)
        number = 0
        for start, data in self._merged():
            end = start + len(data)
            while number < len(blocked) and blocked[number][1] <= start:
                number += 1
            at, following = start, number
            while at < end:
                low, high = blocked[following] if following < len(blocked) else (end, end)
                if at < low:
                    stop = min(end, low)
                    taken.append((at, bytes(data[at - start : stop - start])))
                at, following = max(at, high), following + 1
        return taken

    def _merged(self) -> list[tuple[int, bytearray]]:
        merged: list[tuple[int, bytearray]] = []
        end = -1
        for address, data in sorted(self._touched.items()):
            last = merged[-1][1] if merged else bytearray()
            if address > end:
                gap = address - end
                between = b""
                if gap <= _JOIN and address // PAGE == (end - 1) // PAGE:
                    between = self._memory.remembered(end, gap)
                if len(between) < gap:
                    last = bytearray()
                    merged.append((address, last))
                last += between
                end = address
            last += data[end - address :]
            end = max(end, address + len(data))
        return merged


def _first_pages(maps: MapTable) -> list[tuple[bytes, int]]:
    """(path, start) of the files that are mapped."""
    return [(one.path, one.start) for one in maps.modules() if one.offset == 0]


def calls_fact(found: FoundCalls) -> bytes:
    """The fact @perl, @php or @ruby: where the interpreter is, its version, the size of its
    structure, the number of its interface or where its symbols are, its file."""
    return b"%x %d.%d.%d %x %s" % (found.address, *found.version, found.mark, found.path)


def fact_of(found: Found) -> bytes:
    """The fact @cpython: the runtime's address and PY_VERSION_HEX in hex, the file."""
    version = found.layout.version if found.layout else 0
    return b"%x %x %s" % (found.runtime, version, found.path)


def dynamic_of(page: bytes, start: int) -> tuple[int, int]:
    """The bias and the address of .dynamic of a module whose first page lies at `start`; 0, 0 if
    it has none."""
    try:
        header = ElfHeader(page[:64])
    except FormatError:
        return 0, 0
    rows = parse_program_headers(header, page[header.phoff :], min(header.phnum, 64))
    first = next((row for row in rows if row.type == PT_LOAD), None)
    if first is None:
        return 0, 0
    bias = start - (first.vaddr - first.offset)
    for row in rows:
        if row.type == PT_DYNAMIC:
            return bias, row.vaddr + bias
    return 0, 0
