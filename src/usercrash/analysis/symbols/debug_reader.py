"""Names and lines straight from DWARF, for what `symbolic` does not read: split DWARF, files
that dwz made smaller, files that it refuses or that are too large to convert in time.

Only the units are read that an address asks for.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from ...errors import FormatError
from ..dwarf.address_ranges import ranges_of, read_aranges
from ..dwarf.debug_info import DwarfFile
from ..dwarf.functions import CallSite, FunctionIndex, Level, calls_of, levels
from ..dwarf.line_program import LineProgram, program_of, program_size
from ..dwarf.names import name_of
from ..dwarf.units import Unit
from ..dwarf.work import Work
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
        pass  # then it is `symbolic` that says what is wrong with it
    return False


class DebugReader:
    """What a file's DWARF says about addresses; they are those of the file (link-time)."""

    def __init__(self, file: DwarfFile, related: RelatedFiles | None = None) -> None:
        """Nothing is read yet. Once `file.work` is spent, nothing more is known."""
        self._file = file
        self._related = related
        if related is not None:
            file.alternate = related.alternate
        self._listed: _Spans | None = None
        self._others: _Spans | None = None
        self._units: dict[int, tuple[Unit, FunctionIndex]] = {}
        self._programs: dict[int, LineProgram | None] = {}

    def lookup(self, address: int) -> list[Line]:
        """The functions at an address, innermost first; empty where none is known.

        Only a line: one `Line` without a name.
        """
        if self.exhausted:
            return []
        try:
            home = self._unit_of(address)
            return self._lines(home, address) if home is not None else []
        except _BROKEN:
            return []

    def names(self, address: int) -> list[str]:
        """The names alone of the functions at an address, innermost first."""
        if self.exhausted:
            return []
        try:
            home = self._unit_of(address)
            function = self._functions(home)[1].at(address) if home is not None else None
            if function is None:
                return []
            found = [name_of(level.entry)[0] for level in levels(function, address)]
            return [name.decode("utf-8", "backslashreplace") for name in found]
        except _BROKEN:
            return []

    @property
    def exhausted(self) -> bool:
        """Whether there was more to read than is allowed."""
        return self._file.work.exhausted

    def call_sites(self, address: int) -> list[CallSite]:
        """The calls in the function that holds an address; empty where none are known."""
        if self.exhausted:
            return []
        try:
            home = self._unit_of(address)
            function = self._functions(home)[1].at(address) if home is not None else None
            return calls_of(function) if function is not None else []
        except _BROKEN:
            return []

    def scopes(self, address: int) -> list[Level]:
        """The functions at an address with their entries, innermost first; empty where none is
        known."""
        if self.exhausted:
            return []
        try:
            home = self._unit_of(address)
            function = self._functions(home)[1].at(address) if home is not None else None
            return levels(function, address) if function is not None else []
        except _BROKEN:
            return []

    @property
    def work(self) -> Work:
        """What reading is spent from."""
        return self._file.work

    def row_at(self, address: int, budget: int) -> tuple[int, int, int]:
        """(line, column, bytes of the program that was run for it) at an address; zeros where
        that is not known, or the unit's line program is longer than `budget`."""
        if self.exhausted:
            return 0, 0, 0
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
        """The unit that has the code at an address: by the table of ranges (`.debug_aranges`), and
        only where that has nothing by the units that it leaves out."""
        if self._listed is None:
            self._listed = _Spans(row for row in read_aranges(self._file) if row[0])
        start = self._listed.at(address)
        if start is None:
            if self._others is None:
                self._others = _Spans(self._spans_of_others(self._listed.units))
            start = self._others.at(address)
        return self._file.unit(start) if start is not None else None

    def _spans_of_others(self, known: frozenset[int]) -> Iterator[tuple[int, int, int]]:
        """(start, end, unit) of all code of units that are not known."""
        for start in self._file.unit_starts():
            self._file.work.spend()
            if start in known:
                continue
            try:
                root = self._file.unit(start).root
                if root.tag in (_PARTIAL_UNIT, _TYPE_UNIT):
                    continue
                for low, high in ranges_of(root):
                    if low:
                        yield low, high, start
            except FormatError:
                continue  # one broken unit costs only itself

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


class _Spans:
    """Which unit lies where; `units` are all that are named."""

    def __init__(self, rows: Iterable[tuple[int, int, int]]) -> None:
        self._rows = sorted(rows)
        self._starts = [row[0] for row in self._rows]
        self.units = frozenset(row[2] for row in self._rows)

    def at(self, address: int) -> int | None:
        """The unit around an address, the innermost of several."""
        index = bisect_right(self._starts, address)
        for low, high, unit in reversed(self._rows[max(0, index - 64) : index]):
            if low <= address < high:
                return unit
        return None


def _line(level: Level, path: str, line: int, column: int) -> Line:
    name, language = name_of(level.entry)
    text = name.decode("utf-8", "backslashreplace")
    return Line(text, level.start, path, line, column, LANGUAGES.get(language, ""))


def _path(program: LineProgram, file: int) -> str:
    name = program.file_name(file)
    if b"/." in name or b"//" in name or name.startswith(b"./"):
        name = os.path.normpath(name)
    return name.decode("utf-8", "backslashreplace")
