"""Function names from `.symtab` and `.dynsym`, searchable by address, and as bytes for a cache.

Only a symbol that covers an address names it: in a stripped library the nearest
symbol below is some other function.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ...elf.headers import EM_ARM, EM_PPC64
from ...errors import FormatError
from .dynamic_symbols import Read, dynamic_symbols
from .effort import affordable
from .symbol_entries import entry_layout

if TYPE_CHECKING:
    from .elf_file import ElfFile

MAX_SYMBOLS = 1_500_000
# Bytes that a symbol without a size (assembler) is believed to cover, up to the next one: where all
# symbols are known, and where those of local functions may be missing.
_REACH, _DYNAMIC_REACH = 4096, 64
_LOOK_BACK = 16  # symbols to look back for one that encloses an address
_MAX_NAME = 16_384
_COMPARED = 256  # bytes of names at one address

STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC = 0, 2, 10
SHF_EXECINSTR = 4
_MAGIC = b"UCSYM\0\0\1"
_HEAD = struct.Struct("<8sQQ")  # magic, number of symbols, bytes of strings


class SymbolTable:
    """Functions by link-time address.

    Three sequences in the order of addresses — start, size, position of the name in `strings` —
    so that a cached table is used as it lies in the file.
    """

    def __init__(
        self, starts: Sequence[int], sizes: Sequence[int], names: Sequence[int],
        strings: bytes | memoryview,
    ) -> None:  # fmt: skip
        self._starts = starts
        self._sizes = sizes
        self._names = names
        self._strings = strings

    def __len__(self) -> int:
        return len(self._starts)

    def find(self, address: int) -> tuple[bytes, int] | None:
        """(name, start) of the function that covers an address, None if none is known to."""
        index = self._index(address)
        if index is None:
            return None
        return self._name(index), self._starts[index]

    def _name(self, index: int) -> bytes:
        """The name without a symbol version (`name@@VERSION`)."""
        name = _text(self._strings, self._names[index])
        return name.partition(b"@")[0] or name

    def start_of(self, address: int) -> int | None:
        """Where the function that covers an address begins."""
        index = self._index(address)
        return None if index is None else self._starts[index]

    def _index(self, address: int) -> int | None:
        last = bisect_right(self._starts, address) - 1
        for index in range(last, max(-1, last - _LOOK_BACK), -1):
            if address < self._starts[index] + self._sizes[index]:
                return index
        return None

    # --- from an ELF file ---

    @classmethod
    def of(cls, elf: ElfFile) -> SymbolTable:
        """The functions of a file: `.symtab`, else `.dynsym` with `.gnu_debugdata`; without section
        headers, the dynamic symbols."""
        if not elf.sections:
            return cls.of_dynamic(elf, elf.read_at)
        tables = [(elf, elf.section(b".symtab"))]
        if tables[0][1] is None:
            tables = [(elf, elf.section(b".dynsym"))]
            mini = elf.mini_debug
            if mini is not None:
                tables.append((mini, mini.section(b".symtab")))
        best: dict[int, tuple[int, int, int]] = {}  # address: (rank, size, name)
        strings: bytes | memoryview = b""
        for owner, section in tables:
            if section is None or section.link >= len(owner.sections):
                continue
            more = owner.contents(owner.sections[section.link])
            base = len(strings)
            strings = more if not base else bytes(strings) + bytes(more)
            symbols = owner.contents(section)
            _choose(best, _functions(owner, symbols, _code_sections(owner)), strings, base)
        whole = tables[0][1] is not None and tables[0][1].name == b".symtab"
        rows = _sized(best, _REACH if whole else _DYNAMIC_REACH, _ends_of_code(elf))
        return cls(
            array("Q", [row[0] for row in rows]),
            array("Q", [row[1] for row in rows]),
            array("Q", [row[2] for row in rows]),
            strings,
        )

    @classmethod
    def of_dynamic(cls, elf: ElfFile, read: Read, bias: int = 0) -> SymbolTable:
        """The dynamic symbols that PT_DYNAMIC leads to; `read(link-time address, size)` reads a
        file or memory (where the loader may have added `bias` to what the table says)."""
        symbols, strings = dynamic_symbols(elf, read, bias)
        best: dict[int, tuple[int, int, int]] = {}
        _choose(best, _functions(elf, symbols, frozenset()), strings, 0)
        rows = _sized(best, _DYNAMIC_REACH, [])
        starts, sizes, names = (array("Q", [row[at] for row in rows]) for at in range(3))
        return cls(starts, sizes, names, strings)

    # --- as bytes ---

    def to_bytes(self) -> bytes:
        """The table with the names it uses; `from_bytes` is the inverse."""
        names = []
        positions = array("Q")
        size = 0
        for index in range(len(self._starts)):
            name = self._name(index) + b"\0"
            positions.append(size)
            names.append(name)
            size += len(name)
        head = _HEAD.pack(_MAGIC, len(self._starts), size)
        return b"".join((
            head, array("Q", self._starts).tobytes(), array("Q", self._sizes).tobytes(),
            positions.tobytes(), *names,
        ))  # fmt: skip

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> SymbolTable:
        """A table over bytes that must stay alive; FormatError if they are not such a table."""
        if len(data) < _HEAD.size:
            raise FormatError("symbol table cut short")
        magic, count, size = _HEAD.unpack_from(data)
        if magic != _MAGIC or len(data) != _HEAD.size + 24 * count + size:
            raise FormatError("not a symbol table of this version")
        view = memoryview(data)
        parts = []
        for number in range(3):
            start = _HEAD.size + 8 * count * number
            parts.append(view[start : start + 8 * count].cast("Q"))
        return cls(parts[0], parts[1], parts[2], view[_HEAD.size + 24 * count :])


def _code_sections(elf: ElfFile) -> frozenset[int]:
    return frozenset(
        number for number, section in enumerate(elf.sections) if section.flags & SHF_EXECINSTR
    )


def _ends_of_code(elf: ElfFile) -> list[int]:
    """Where sections with code end: no function goes on in the next one."""
    return sorted(
        section.address + section.size
        for section in elf.sections
        if section.flags & SHF_EXECINSTR and section.size
    )


def _functions(
    elf: ElfFile, data: bytes | memoryview, code: frozenset[int]
) -> Iterable[tuple[int, int, int, int]]:
    """(name, type, address, size) of the symbols that may be functions."""
    wide = elf.wide
    layout = entry_layout(elf)
    thumb = 1 if elf.header.machine == EM_ARM else 0  # bit 0 of a function's address: Thumb code
    usable = affordable(min(len(data) // layout.size, MAX_SYMBOLS)) * layout.size
    described = _descriptors(elf)
    for row in layout.iter_unpack(data[:usable]):
        if wide:
            name, info, _other, index, value, size = row
        else:
            name, value, size, info, _other, index = row
        kind = info & 15
        if kind in (STT_FUNC, STT_GNU_IFUNC):
            if index and value:
                yield name, kind, described.get(value, value & ~thumb), size
        elif kind == STT_NOTYPE and index in code:
            yield name, kind, value, size


def _descriptors(elf: ElfFile) -> dict[int, int]:
    """Where the functions begin whose symbols name a descriptor: those of 64-bit Power before
    its ELF v2 ABI, where `.opd` has three words for each function, the first its address."""
    section = elf.section(b".opd") if elf.header.machine == EM_PPC64 else None
    if section is None:
        return {}
    data = elf.contents(section)
    words = struct.iter_unpack(elf.order + "Q", data[: min(len(data), 24 * MAX_SYMBOLS) & -8])
    return {section.address + 8 * at: word for at, (word,) in enumerate(words)}


def _choose(
    best: dict[int, tuple[int, int, int]],
    symbols: Iterable[tuple[int, int, int, int]],
    strings: bytes | memoryview,
    base: int,
) -> None:
    """Keep one symbol (rank, size, name) for each address: one with a size, of a function, and of
    these, as gdb does, the one whose name sorts last (`read` before `__libc_read`)."""
    end = len(strings)
    for name, kind, value, size in symbols:
        at = base + name
        if at >= end or not strings[at]:
            continue
        if kind == STT_NOTYPE and strings[at] in b".$":
            continue  # assembler's labels and mapping symbols
        rank = (2 if size else 0) + (kind != STT_NOTYPE)
        known = best.get(value)
        if known is not None and (
            rank < known[0]
            or (rank == known[0] and beginning(strings, at) <= beginning(strings, known[2]))
        ):
            continue
        best[value] = (rank, size, at)


def _sized(
    best: dict[int, tuple[int, int, int]], reach: int, ends: list[int]
) -> list[tuple[int, int, int]]:
    """(start, size, name) in order; symbols without a size get one (at most `reach`, and not over
    the next of `ends`), or are left out where they are but labels inside a function."""
    rows: list[tuple[int, int, int]] = []
    end = 0  # of the functions so far
    starts = sorted(best)
    for start, following in zip(starts, [*starts, 1 << 64][1:], strict=True):
        _, size, name = best[start]
        if size:
            end = max(end, start + size)
        elif start < end:
            continue
        else:
            behind = bisect_right(ends, start)
            size = min(reach, min([following, *ends[behind : behind + 1]]) - start)
        rows.append((start, min(size, (1 << 63) - 1), name))
    return rows


def beginning(strings: bytes | memoryview, at: int) -> bytes:
    """The first bytes of a name: what names are compared by."""
    return bytes(strings[at : at + _COMPARED]).partition(b"\0")[0]


def _text(strings: bytes | memoryview, at: int) -> bytes:
    return bytes(strings[at : at + _MAX_NAME]).partition(b"\0")[0]
