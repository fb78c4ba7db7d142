"""`.debug_info` of one file: its units, found by offset, and the sections that they refer to.

Only the unit headers are read in advance, and only as far as an offset or address needs. An
entry may name things of other units and of other files: `DwarfFile.alternate` is the file that
dwz (or DWARF 5's `.debug_sup`) put common parts into, a unit's `skeleton` is the one in the
program's file that stands for a unit of a `.dwo` or `.dwp` file. Broken data raises
FormatError, and nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator

from ...errors import FormatError
from ..binary.elf_file import ElfFile
from . import abbreviations as ab
from .abbreviations import Abbreviation, Shape
from .encodings import Buffer, initial_length
from .units import Unit

MAX_UNITS = 400_000
MAX_STRING = 16_384
BUDGET = 3_000_000  # entries that one file's reader looks at before it gives up


class DwarfFile:
    """One file's DWARF. `split`: the sections are those of a `.dwo` or `.dwp` file."""

    def __init__(self, elf: ElfFile, *, split: bool = False) -> None:
        self.elf = elf
        self.order = elf.order
        self.split = split
        self.alternate: Callable[[], DwarfFile | None] = lambda: None
        self.budget = BUDGET
        self._sections: dict[str, Buffer] = {}
        self._tables: dict[tuple[int, Shape], dict[int, Abbreviation]] = {}
        self._starts: list[int] = []
        self._units: dict[int, Unit] = {}

    def section(self, name: str) -> Buffer:
        """A section's bytes (`info` stands for `.debug_info`), empty where there is none."""
        found = self._sections.get(name)
        if found is None:
            full = f".debug_{name}" + (".dwo" if self.split else "")
            section = self.elf.section(full.encode())
            if section is None:
                section = self.elf.section(b".z" + full[1:].encode())
            found = self.elf.contents(section) if section is not None else b""
            self._sections[name] = found
        return found

    def spend(self, entries: int = 1) -> None:
        """Count entries that are read: FormatError when there were too many."""
        self.budget -= entries
        if self.budget < 0:
            raise FormatError("more debug information than there is time for")

    def table(self, offset: int, shape: Shape) -> dict[int, Abbreviation]:
        """The abbreviations at an offset."""
        key = (offset, shape)
        if key not in self._tables:
            if len(self._tables) > 4_096:
                self._tables.clear()
            self._tables[key] = ab.read_table(self.section("abbrev"), offset, shape)
        return self._tables[key]

    # --- units ---

    def unit_starts(self) -> list[int]:
        """The offsets of all units whose headers follow each other without a gap."""
        if not self._starts:
            info = self.section("info")
            at = 0
            while at + 11 <= len(info) and len(self._starts) < MAX_UNITS:
                self._starts.append(at)
                size, wide = initial_length(info, at, self.order)
                at += size + (12 if wide else 4)
        return self._starts

    def unit(self, start: int) -> Unit:
        """The unit whose header is at this offset."""
        found = self._units.get(start)
        if found is None:
            found = self._units[start] = Unit(self, start)
        return found

    def unit_at(self, offset: int) -> Unit:
        """The unit that holds an entry."""
        starts = self.unit_starts()
        index = bisect_right(starts, offset) - 1
        if index < 0:
            raise FormatError("no unit there")
        found = self.unit(starts[index])
        if offset >= found.end:
            raise FormatError("no unit there")
        return found

    def units(self) -> Iterator[Unit]:
        """All units with headers of known versions."""
        for start in self.unit_starts():
            try:
                yield self.unit(start)
            except FormatError:
                continue

    def text(self, section: str, offset: int) -> bytes:
        """A string of a string section."""
        data = self.section(section)
        if not 0 <= offset < len(data):
            raise FormatError("string outside its section")
        return bytes(data[offset : offset + MAX_STRING]).partition(b"\0")[0]

    def elsewhere(self) -> DwarfFile:
        """The alternate file; FormatError where it is missing."""
        found = self.alternate()
        if found is None:
            raise FormatError("the alternate debug file is missing")
        return found
