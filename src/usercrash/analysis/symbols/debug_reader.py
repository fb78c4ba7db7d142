"""Names and lines straight from DWARF, for what `symbolic` does not read: split DWARF, files
that dwz made smaller, files that it refuses or that are too large to convert in time.

Only the units are read that an address asks for.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right

from ...errors import FormatError
from ..dwarf.address_ranges import ranges_of, read_aranges
from ..dwarf.debug_info import DwarfFile
from ..dwarf.functions import CallSite, FunctionIndex, Level, calls_of, levels, name_of
from ..dwarf.line_program import LineProgram, program_of, program_size
from ..dwarf.units import Unit
from .line_tables import LANGUAGES, NO_ADDRESS, Line
from .related_files import RelatedFiles, alternate_link

_BROKEN = (FormatError, struct.error, MemoryError)
_PARTIAL_UNIT, _TYPE_UNIT = 0x3C, 0x41
_MAX_SKELETONS = 2_000  # units that are looked at to see whether a file's DWARF is split


def needs_own_reader(file: DwarfFile) -> bool:
    """Whether a file's debug information lies in other files, too."""
    if alternate_link(file.elf) is not None:
        return True
    if not file.section("addr"):  # which all split DWARF has
        return False
    try:
        for count, unit in enumerate(file.units()):
            if unit.dwo_name:
                return True
            if count > _MAX_SKELETONS:
                break
    except _BROKEN:
        pass
    return False


class DebugReader:
    """What a file's DWARF says about addresses; they are those of the file (link-time)."""

    def __init__(self, file: DwarfFile, related: RelatedFiles | None = None) -> None:
        self._file = file
        self._related = related
        if related is not None:
            file.alternate = related.alternate
        self._spans: list[tuple[int, int, int]] | None = None
        self._starts: list[int] = []
        self._units: dict[int, tuple[Unit, FunctionIndex]] = {}
        self._programs: dict[int, LineProgram | None] = {}

    def lookup(self, address: int) -> list[Line]:
        """The functions at an address, innermost first; empty where none is known.

        Only a line: one `Line` without a name.
        """
        try:
            home = self._unit_of(address)
            return self._lines(home, address) if home is not None else []
        except _BROKEN:
            return []

    def call_sites(self, address: int) -> list[CallSite]:
        """The calls in the function that holds an address; empty where none are known."""
        try:
            home = self._unit_of(address)
            function = self._functions(home)[1].at(address) if home is not None else None
            return calls_of(function) if function is not None else []
        except _BROKEN:
            return []

    def row_at(self, address: int, budget: int) -> tuple[int, int, int]:
        """(line, column, bytes of the program that was run for it) at an address; zeros where
        that is not known, or the unit's line program is longer than `budget`."""
        try:
            home = self._unit_of(address)
            if home is None:
                return 0, 0, 0
            cost = 0 if home.start in self._programs else program_size(home)
            program = self._program(home) if cost <= budget else None
            row = program.row_at(address) if program is not None else None
            return (row[2], row[3], cost) if row is not None else (0, 0, cost)
        except _BROKEN:
            return 0, 0, 0

    # --- units ---

    def _unit_of(self, address: int) -> Unit | None:
        if self._spans is None:
            self._spans = self._all_spans()
            self._starts = [span[0] for span in self._spans]
        index = bisect_right(self._starts, address)
        for low, high, start in reversed(self._spans[max(0, index - 64) : index]):
            if low <= address < high:
                return self._file.unit(start)
        return None

    def _all_spans(self) -> list[tuple[int, int, int]]:
        """(start, end, unit) of all code: by the table of ranges, and of what it leaves out by
        the units themselves."""
        spans = read_aranges(self._file)
        known = {span[2] for span in spans}
        starts = set(self._file.unit_starts())
        spans = [span for span in spans if span[2] in starts and span[0]]
        for start in self._file.unit_starts():
            if start in known:
                continue
            try:
                root = self._file.unit(start).root
                if root.tag in (_PARTIAL_UNIT, _TYPE_UNIT):
                    continue
                spans += [(low, high, start) for low, high in ranges_of(root) if low]
            except FormatError:
                continue
        spans.sort()
        return spans

    def _functions(self, home: Unit) -> tuple[Unit, FunctionIndex]:
        """The unit that has the functions (a split one's is elsewhere), and these."""
        found = self._units.get(home.start)
        if found is None:
            unit = None
            if home.dwo_name and self._related is not None:
                unit = self._related.split_unit(home)
            unit = unit or home
            found = self._units[home.start] = (unit, FunctionIndex(unit))
        return found

    def _program(self, home: Unit) -> LineProgram | None:
        if home.start not in self._programs:
            try:
                self._programs[home.start] = program_of(home)
            except _BROKEN:
                self._programs[home.start] = None
        return self._programs[home.start]

    # --- one address ---

    def _lines(self, home: Unit, address: int) -> list[Line]:
        program = self._program(home)
        row = program.row_at(address) if program is not None else None
        file, line, column = row[1:] if row is not None else (0, 0, 0)
        function = self._functions(home)[1].at(address)
        if function is None:
            if program is None or row is None:
                return []
            return [Line("", NO_ADDRESS, _path(program, file), line, column)]
        found = []
        for level in levels(function, address):
            path = _path(program, file) if program is not None else ""
            found.append(_line(level, path, line, column))
            file, line, column = level.call_file, level.call_line, level.call_column
        return found


def _line(level: Level, path: str, line: int, column: int) -> Line:
    name, language = name_of(level.entry)
    text = name.decode("utf-8", "backslashreplace")
    return Line(text, level.start, path, line, column, LANGUAGES.get(language, ""))


def _path(program: LineProgram, file: int) -> str:
    name = program.file_name(file)
    if b"/." in name or b"//" in name:
        name = os.path.normpath(name)
    return name.decode("utf-8", "backslashreplace")
