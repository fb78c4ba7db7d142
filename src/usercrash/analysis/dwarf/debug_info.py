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
from ..binary.elf_file import ElfFile, Section
from ..binary.inflation import MAX_INFLATED, Inflater
from . import abbreviations as ab
from .abbreviations import Abbreviation, Shape
from .encodings import Buffer, initial_length
from .units import MAX_STRING, Unit
from .work import Work

MAX_UNITS = 400_000


class DwarfFile:
    """One file's DWARF. `split`: the sections are those of a `.dwo` or `.dwp` file. All that is
    read is spent from `work`, TooMuchError (a FormatError) is its end."""

    def __init__(self, elf: ElfFile, *, split: bool = False, work: Work | None = None) -> None:
        self.elf = elf
        self.order = elf.order
        self.split = split
        self.alternate: Callable[[], DwarfFile | None] = lambda: None
        self.work = work if work is not None else Work()
        self._sections: dict[str, Buffer] = {}
        self._inflater: Inflater | None = None  # of `.debug_info`, if that is compressed
        self._tables: dict[tuple[int, Shape], dict[int, Abbreviation]] = {}
        self._starts: list[int] = []
        self._units: dict[int, Unit] = {}
        self._signatures: dict[int | None, Unit] | None = None

    def section(self, name: str) -> Buffer:
        """A section's bytes (`info` stands for `.debug_info`), empty where there is none."""
        found = self._sections.get(name)
        if found is None:
            if name == "info":
                found = self.info(MAX_INFLATED)
            else:
                section = self._header(name)
                found = self.elf.contents(section) if section is not None else b""
            self._sections[name] = found
        return found

    def info(self, end: int) -> Buffer:
        """`.debug_info` as far as `end` at least: to inflate all of it for one unit takes long."""
        found = self._sections.get("info")
        if found is not None:
            return found
        if self._inflater is None:
            section = self._header("info")
            self._inflater = self.elf.inflater(section) if section is not None else None
            if self._inflater is None:
                self._sections["info"] = self.elf.contents(section) if section is not None else b""
                return self._sections["info"]
        return memoryview(self._inflater.upto(end))

    def _header(self, name: str) -> Section | None:
        full = f".debug_{name}" + (".dwo" if self.split else "")
        return self.elf.section(full.encode()) or self.elf.section(b".z" + full[1:].encode())

    def table(self, offset: int, shape: Shape) -> dict[int, Abbreviation]:
        """The abbreviations at an offset."""
        key = (offset, shape)
        if key not in self._tables:
            if len(self._tables) > 4_096:
                self._tables.clear()
            self._tables[key] = ab.read_table(self.section("abbrev"), offset, shape, self.work)
        return self._tables[key]

    # --- units ---

    def unit_starts(self) -> list[int]:
        """The offsets of all units whose headers follow each other without a gap."""
        if not self._starts:
            info = self.section("info")
            starts: list[int] = []
            at = 0
            while at + 11 <= len(info) and len(starts) < MAX_UNITS:
                self.work.spend()
                try:
                    size, wide = initial_length(info, at, self.order)
                except FormatError:
                    break  # what came before is good
                starts.append(at)
                at += size + (12 if wide else 4)
            self._starts = starts
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
            self.work.spend()
            try:
                yield self.unit(start)
            except FormatError:
                continue

    def type_unit(self, signature: int) -> Unit:
        """The type unit with this signature; FormatError where `.debug_info` has none."""
        if self._signatures is None:
            self._signatures = {
                unit.signature: unit for unit in self.units() if unit.signature is not None
            }
        found = self._signatures.get(signature)
        if found is None:
            raise FormatError("the unit of a type is missing")
        return found

    def text(self, section: str, offset: int) -> bytes:
        """A string of a string section."""
        self.work.spend()
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
