"""Go's table of functions (`.gopclntab`): names, files, lines and stack sizes of programs that are
stripped of all else.

Source: Go's runtime/symtab.go and runtime2.go (type _func), cmd/link/internal/ld/pcln.go; the
layouts of Go 1.2, 1.16, 1.18 and 1.20, which later versions kept. Addresses are link-time ones.
What is malformed raises `FormatError`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ...elf.headers import PF_X
from ...errors import FormatError
from .effort import SEARCHED_BYTES, affordable, spend

if TYPE_CHECKING:
    from .elf_file import ElfFile

_GO_1_2, _GO_1_16, _GO_1_18, _GO_1_20 = 0xFFFFFFFB, 0xFFFFFFFA, 0xFFFFFFF0, 0xFFFFFFF1
_VERSIONS = {_GO_1_2: 2, _GO_1_16: 16, _GO_1_18: 18, _GO_1_20: 20}
SECTIONS = (b".gopclntab", b".data.rel.ro.gopclntab")
# In position-independent files GNU ld puts it among others; these say that a file is Go's.
_SHARED_SECTION, _SIGNS = b".data.rel.ro", (b".go.buildinfo", b".note.go.buildid")
_MAX_FUNCTIONS = 2_000_000
_QUANTUM_AND_WORD = rb"[\1\2\4][\4\x08]"
_MAX_HITS = 1000
_MAX_STEPS = 200_000  # of one pc-value table
_MAX_NAME = 4096
_MAX_RELOCATIONS = 4_000_000
_INLINE_INDEX = 2  # PCDATA_InlTreeIndex
_OUTERMOST = frozenset((
    b"runtime.goexit", b"runtime.rt0_go", b"runtime.clone",
    b"runtime.goexit.abi0", b"runtime.rt0_go.abi0", b"runtime.clone.abi0",
))  # fmt: skip

# runtime/signal_*.go, preparePanic and pushCall; runtime/asm_*.s, cgocallback, which C calls: its
# return address on the goroutine's stack is where that was left for C.
_INJECTED = frozenset((
    b"runtime.sigpanic", b"runtime.asyncPreempt", b"runtime.asyncPreempt.abi0",
    b"runtime.cgocallback", b"runtime.cgocallback.abi0",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class GoFunction:
    """A function: [start, end) of its code, and where its record lies in the table."""

    start: int
    end: int
    name: bytes
    record: int

    @property
    def outermost(self) -> bool:
        """Whether nothing called it: stacks of goroutines and threads begin there."""
        return self.name in _OUTERMOST

    @property
    def injected(self) -> bool:
        """Whether the runtime makes it look called by the code that a signal interrupted."""
        return self.name in _INJECTED


class GoTable:
    """A parsed header of the table; everything else is read when asked for.

    `text` is the link-time address of runtime.text, used where the table does not tell (or
    says 0: position-independent programs have a relocation there).
    """

    def __init__(self, data: bytes | memoryview, order: str = "<", text: int = 0) -> None:
        """FormatError unless it is a table of a known version."""
        self._data = data
        self._order = order
        magic, zero, self._quantum, self._word = self._unpack("IHBB", 0)
        if magic not in _VERSIONS or zero or self._quantum not in (1, 2, 4):
            raise FormatError("no Go function table")
        if self._word not in (4, 8):
            raise FormatError("Go function table with odd words")
        self._version = _VERSIONS[magic]
        self._letter = "Q" if self._word == 8 else "I"
        self._base = 0  # of addresses in the table
        self._names = self._units = self._files = self._values = 0
        self._cell, at = self._word, self._head(text)
        if self._version >= 18:
            self._cell = 4
        self._table = at
        self._pair = struct.Struct(order + ("QQ" if self._cell == 8 else "II"))
        room = max(0, len(data) - at - self._cell) // self._pair.size
        if not 0 < self._count <= min(room, _MAX_FUNCTIONS):
            raise FormatError(f"Go function table of {self._count} functions")

    def _head(self, text: int) -> int:
        """Read the offsets of the tables; gives that of the list of functions."""
        word, at = self._word, 8
        if self._version == 2:
            (self._count,) = self._unpack(self._letter, at)
            return at + word
        fields = 8 if self._version >= 18 else 7
        values = self._unpack(f"{fields}{self._letter}", at)
        self._count = values[0]
        if self._version >= 18:
            self._base = values[2] or text
        self._names, self._units, self._files, self._values, table = values[-5:]
        return int(table)

    def _unpack(self, letters: str, at: int) -> tuple[int, ...]:
        try:
            found: tuple[int, ...] = struct.unpack_from(self._order + letters, self._data, at)
        except (struct.error, OverflowError):
            raise FormatError("Go function table cut short") from None
        return found

    def __len__(self) -> int:
        return self._count

    # --- functions ---

    def _entry(self, index: int) -> tuple[int, int]:
        start, record = self._pair.unpack_from(self._data, self._table + index * self._pair.size)
        return start, record

    def find(self, pc: int) -> GoFunction | None:
        """The function that covers `pc`."""
        wanted = pc - self._base
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if self._entry(middle)[0] <= wanted:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return None
        start, record = self._entry(low - 1)
        end = self._unpack("I" if self._cell == 4 else "Q", self._table + low * self._pair.size)[0]
        if wanted >= end:
            return None
        at = record + (self._table if self._version > 2 else 0)
        (name,) = self._unpack("i", at + self._fields)
        return GoFunction(start + self._base, end + self._base, self._text(self._names + name), at)

    @property
    def _fields(self) -> int:
        """Where a record's fields begin behind its entry."""
        return 4 if self._version >= 18 else self._word

    def _text(self, at: int) -> bytes:
        if not 0 <= at < len(self._data):
            raise FormatError("Go function table: a name outside")
        return bytes(self._data[at : at + _MAX_NAME]).partition(b"\0")[0]

    # --- what holds at a pc ---

    def stack_size(self, function: GoFunction, pc: int) -> int | None:
        """Bytes between the stack pointer at `pc` and where the return address was pushed (or
        where the stack pointer was before the call)."""
        (table,) = self._unpack("I", function.record + self._fields + 12)
        return self._value(table, function, pc)

    def line(self, function: GoFunction, pc: int) -> tuple[bytes, int] | None:
        """(file, line) of the code at `pc`; None where it is not known, or where the code is that
        of another function that was inlined."""
        at = function.record + self._fields
        _, file_table, line_table, count = self._unpack("IIII", at + 12)
        rest = at + 28
        unit = 0
        if self._version >= 16:
            (unit,) = self._unpack("I", rest)
            rest += 4
        if self._version >= 20:
            rest += 4  # the line where the function begins
        if count > _INLINE_INDEX:
            (inlined,) = self._unpack("I", rest + 4 + 4 * _INLINE_INDEX)
            if inlined and (self._value(inlined, function, pc) or 0) >= 0:
                return None
        number, line = self._value(file_table, function, pc), self._value(line_table, function, pc)
        if number is None or line is None or number < 0 or line <= 0:
            return None
        name = self._file(number, unit)
        return None if name is None else (name, line)

    def _file(self, number: int, unit: int) -> bytes | None:
        if self._version == 2:
            end = self._table + self._count * self._pair.size + self._word
            (files,) = self._unpack("I", end)
            (at,) = self._unpack("I", files + 4 * number)
            return self._text(at) if at else None
        (at,) = self._unpack("I", self._units + 4 * (unit + number))
        return None if at == 0xFFFFFFFF else self._text(self._files + at)

    def _value(self, table: int, function: GoFunction, pc: int) -> int | None:
        """The value that a pc-value table has at `pc`: pairs of differences (zigzag value, pc in
        quanta), from −1 at the function's begin."""
        at, value, location = self._values + table, -1, function.start
        if table == 0:
            return None
        for step in range(_MAX_STEPS):
            if not step % 64 and not spend(64):
                break
            change, at = self._varint(at)
            if change == 0 and step:
                return None
            value += ~(change >> 1) if change & 1 else change >> 1
            distance, at = self._varint(at)
            location += distance * self._quantum
            if pc < location:
                return value
        raise FormatError("Go pc-value table too long")

    def _varint(self, at: int) -> tuple[int, int]:
        value = 0
        try:
            for shift in range(0, 35, 7):
                byte = self._data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    return value, at
        except IndexError:
            raise FormatError("Go pc-value table cut short") from None
        raise FormatError("Go pc-value table with a number too long")


def go_table(elf: ElfFile) -> GoTable | None:
    """The function table of a Go program, None where there is none that can be read."""
    for place, data in _candidates(elf):
        try:
            return GoTable(data, elf.order, _text_start(elf, place))
        except FormatError:
            continue
    return None


def _candidates(elf: ElfFile) -> Iterator[tuple[int, memoryview]]:
    """(link-time address, bytes) of what may be the table."""
    for name in SECTIONS:
        section = elf.section(name)
        if section is not None:
            yield section.address, elf.contents(section)
            return
    if not elf.sections:
        for segment in elf.loads:
            data = elf.view[segment.offset : segment.offset + segment.filesz]
            yield from _hits(elf, segment.vaddr, data)
        return
    section = elf.section(_SHARED_SECTION)
    if section is not None and any(elf.section(name) for name in _SIGNS):
        yield from _hits(elf, section.address, elf.contents(section))


def _hits(elf: ElfFile, address: int, data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """What begins as a table does, in bytes at a link-time address."""
    if not spend(len(data) // SEARCHED_BYTES):
        return
    for magic in _VERSIONS:
        head = re.escape(struct.pack(elf.order + "IH", magic, 0)) + _QUANTUM_AND_WORD
        # (a program's constants may look like it)
        for hit in islice(re.finditer(head, data), _MAX_HITS):
            yield address + hit.start(), data[hit.start() :]


def _text_start(elf: ElfFile, table: int) -> int:
    """Where runtime.text is, for a table at a link-time address: the relocation of the header's
    field says it, else it is where `.text` begins."""
    field = table + (24 if elf.wide else 16)
    relocations = elf.section(b".rela.dyn")
    if relocations is not None and elf.wide:
        row = struct.Struct(elf.order + "QQq")
        data = elf.contents(relocations)
        count = affordable(min(len(data) // row.size, _MAX_RELOCATIONS))
        for offset, _, addend in row.iter_unpack(data[: count * row.size]):
            if offset == field:
                return int(addend)
    text = elf.section(b".text")
    if text is not None:
        return text.address
    return next((one.vaddr for one in elf.loads if one.flags & PF_X), 0)
