"""Line number programs: file, line and column at an address (DWARF 5 section 6.2, and its
predecessors from version 2 on)."""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from dataclasses import dataclass, field

from ...errors import FormatError
from . import abbreviations as ab
from .abbreviations import Shape
from .attributes import AT_stmt_list
from .debug_info import DwarfFile
from .encodings import Buffer, fixed, initial_length, sleb, uleb
from .units import Unit
from .work import Work

MAX_ROWS = 2_000_000  # of one unit
MAX_FILES = 200_000
_LNCT_path, _LNCT_directory_index = 1, 2

Row = tuple[int, int, int, int]  # address, file, line, column


@dataclass(slots=True)
class LineProgram:
    """A unit's rows in runs of rising addresses, and the files that they number."""

    version: int
    directories: list[bytes]
    files: list[tuple[bytes, int]]  # name, number of its directory
    compiled_in: bytes
    runs: list[tuple[int, int, list[Row]]] = field(default_factory=list)  # start, end, rows
    _starts: list[int] = field(default_factory=list)

    def row_at(self, address: int) -> Row | None:
        """The row that holds at an address: of several at one address, the last one."""
        index = bisect_right(self._starts, address)
        for start, end, rows in reversed(self.runs[max(0, index - 16) : index]):
            if start <= address < end:
                return rows[bisect_right(rows, (address, 1 << 62)) - 1]
        return None

    def file_name(self, number: int) -> bytes:
        """The whole path of a file as far as the compiler told it, b"" for a number without one."""
        index = number if self.version >= 5 else number - 1
        if not 0 <= index < len(self.files):
            return b""
        name, directory = self.files[index]
        place = directory if self.version >= 5 else directory - 1
        known = place < len(self.directories)
        # (the first of version 5 is the one that the others are relative to)
        own = place >= (1 if self.version >= 5 else 0)
        inside = self.directories[place] if known and own else b""
        return join(self.compiled_in, join(inside, name)) if known else name

    def finish(self) -> None:
        """Put the runs in order."""
        self.runs.sort(key=lambda run: run[0])
        self._starts = [run[0] for run in self.runs]


def program_of(unit: Unit, rows: bool = True) -> LineProgram | None:
    """The line program of a unit (or of the skeleton that stands for it), None without one.

    Without `rows`, only its files.
    """
    home = unit.skeleton or unit
    at = home.root.number(AT_stmt_list)
    if at is None:
        return None
    return read_program(home.file, at, home.directory, home.shape.word, rows)


def program_size(unit: Unit) -> int:
    """Bytes of a unit's line program, 0 without one."""
    home = unit.skeleton or unit
    at = home.root.number(AT_stmt_list)
    return 0 if at is None else initial_length(home.file.section("line"), at, home.file.order)[0]


def read_program(
    file: DwarfFile, at: int, directory: bytes, word: int, rows: bool = True
) -> LineProgram:
    """The line program at an offset of `.debug_line`; FormatError for a broken head. Rows that
    come before a broken instruction count."""
    data, order = file.section("line"), file.order
    size, wide = initial_length(data, at, order)
    at += 12 if wide else 4
    end = min(at + size, len(data))
    version = fixed(data, at, order + "H")
    if not 2 <= version <= 5:
        raise FormatError(f"line program of version {version}")
    at += 2
    if version >= 5:
        word = fixed(data, at, "B")
        at += 2
    shape = Shape(word, 8 if wide else 4, version, order)
    head = fixed(data, at, order + ("Q" if wide else "I"))
    at += shape.offset
    code = at + head
    at, setup = _setup(data, at, version, code)
    found = LineProgram(version, [], [], directory)
    try:
        if version >= 5:
            _new_names(file, found, at, shape)
        else:
            _old_names(data, found, at, file.work)
        if rows:
            _Machine(data, setup, shape, found, file.work).run(code, end)
    except (FormatError, struct.error, IndexError):
        pass  # the rows before it are true; that there was too much to read says `file.work`
    found.finish()
    return found


@dataclass(frozen=True, slots=True)
class _Setup:
    smallest: int
    line_base: int
    line_range: int
    lengths: bytes  # how many operands each standard opcode has


def _setup(data: Buffer, at: int, version: int, code: int) -> tuple[int, _Setup]:
    smallest = fixed(data, at, "B")
    at += 2 if version >= 4 else 1  # (VLIW machines apart)
    _default, base, span, first = struct.unpack("BbBB", _take(data, at, 4))
    lengths = _take(data, at + 4, max(0, first - 1))
    if span == 0 or code > len(data):
        raise FormatError("line program with a broken head")
    return at + 4 + len(lengths), _Setup(smallest, base, span, lengths)


def _take(data: Buffer, at: int, size: int) -> bytes:
    found = bytes(data[at : at + size])
    if len(found) < size:
        raise FormatError("line program cut short")
    return found


# --- files ---


def join(directory: bytes, name: bytes) -> bytes:
    """A path as the compiler's directory and a name in it make it."""
    return os.path.join(directory, name) if directory else name


def _old_names(data: Buffer, found: LineProgram, at: int, work: Work) -> None:
    while len(found.directories) < MAX_FILES and fixed(data, at, "B"):
        end = ab.string_end(data, at)
        work.spend(2 + (end - at >> 6))
        found.directories.append(bytes(data[at:end]))
        at = end + 1
    at += 1
    while len(found.files) < MAX_FILES and fixed(data, at, "B"):
        end = ab.string_end(data, at)
        work.spend(4 + (end - at >> 6))
        directory, behind = uleb(data, end + 1)
        found.files.append((bytes(data[at:end]), directory))
        at = uleb(data, uleb(data, behind)[1])[1]


def _new_names(file: DwarfFile, found: LineProgram, at: int, shape: Shape) -> None:
    rows, at = _names(file, at, shape)
    found.directories += [name for name, _ in rows]
    if found.directories:  # the first is the compilation directory
        found.compiled_in = found.directories[0] or found.compiled_in
    rows, at = _names(file, at, shape)
    found.files += rows


def _names(file: DwarfFile, at: int, shape: Shape) -> tuple[list[tuple[bytes, int]], int]:
    """(name, directory) for each row of a table of version 5, and the position behind it."""
    data = file.section("line")
    formats = []
    count = fixed(data, at, "B")
    at += 1
    for _ in range(count):
        kind, at = uleb(data, at)
        form, at = uleb(data, at)
        formats.append((kind, form))
    count, at = uleb(data, at)
    if count > MAX_FILES or (count and not formats):
        raise FormatError("too many files")
    rows = []
    for _ in range(count):
        file.work.spend(1 + 3 * len(formats))
        name, directory = b"", 0
        for kind, form in formats:
            size = ab.form_size(form, shape)
            behind = at + size if size >= 0 else ab.step_over(data, at, size, shape)
            file.work.spend(max(0, behind - at) >> 6)
            if kind == _LNCT_path:
                name = _text(file, data, at, form, shape)
            elif kind == _LNCT_directory_index:
                directory = _number(data, at, form, size, shape)
            at = behind
        rows.append((name, directory))
    return rows, at


def _text(file: DwarfFile, data: Buffer, at: int, form: int, shape: Shape) -> bytes:
    if form == ab.FORM_string:
        return bytes(data[at : ab.string_end(data, at)])
    sections = {ab.FORM_line_strp: "line_str", ab.FORM_strp: "str"}
    if form in sections:
        offset = fixed(data, at, shape.order + ("Q" if shape.offset == 8 else "I"))
        return file.text(sections[form], offset)
    return b""


def _number(data: Buffer, at: int, form: int, size: int, shape: Shape) -> int:
    if form == ab.FORM_udata:
        return uleb(data, at)[0]
    return fixed(data, at, shape.order + {1: "B", 2: "H"}.get(size, "I"))


# --- rows ---


class _Machine:
    """Runs a program's instructions, and collects its rows."""

    def __init__(
        self, data: Buffer, setup: _Setup, shape: Shape, found: LineProgram, work: Work
    ) -> None:
        self.work = work
        self.data = data
        self.setup = setup
        self.shape = shape
        self.found = found
        self.count = 0
        self.reset()

    def reset(self) -> None:
        self.address, self.file, self.line, self.column = 0, 1, 1, 0
        self.rows: list[Row] = []

    def run(self, at: int, end: int) -> None:
        data, setup = bytes(self.data[at:end]), self.setup
        special, base, span = len(setup.lengths) + 1, setup.line_base, setup.line_range
        smallest = setup.smallest
        position, size = 0, len(data)
        while position < size:
            code = data[position]
            position += 1
            if code >= special:
                code -= special
                self.address += smallest * (code // span)
                self.line += base + code % span
                self.rows.append((self.address, self.file, self.line, self.column))
            elif code == 0:
                length, position = uleb(data, position)
                if length:
                    self.extended(data[position : position + length])
                position += length
            else:
                position = self.standard(data, position, code)
            self.count += 1
            if not self.count & 255:
                self.work.spend(256)
            if self.count > MAX_ROWS:
                raise FormatError("line program too long")

    def standard(self, data: bytes, at: int, code: int) -> int:
        if code == 1:  # DW_LNS_copy
            self.rows.append((self.address, self.file, self.line, self.column))
        elif code == 2:  # advance_pc
            number, at = uleb(data, at)
            self.address += number * self.setup.smallest
        elif code == 3:  # advance_line
            number, at = sleb(data, at)
            self.line += number
        elif code == 4:  # set_file
            self.file, at = uleb(data, at)
        elif code == 5:  # set_column
            self.column, at = uleb(data, at)
        elif code == 8:  # const_add_pc
            step = (255 - len(self.setup.lengths) - 1) // self.setup.line_range
            self.address += step * self.setup.smallest
        elif code == 9:  # fixed_advance_pc
            self.address += fixed(data, at, self.shape.order + "H")
            at += 2
        else:  # flags, and what a later version may bring
            self.work.spend(self.setup.lengths[code - 1])
            for _ in range(self.setup.lengths[code - 1]):
                at = uleb(data, at)[1]
        return at

    def extended(self, operand: bytes) -> None:
        code = operand[0]
        if code == 1:  # DW_LNE_end_sequence
            self.end()
        elif code == 2 and len(operand) in (3, 5, 9):  # set_address
            little = self.shape.order == "<"
            self.address = int.from_bytes(operand[1:], "little" if little else "big")
        elif code == 3:  # define_file
            end = ab.string_end(operand, 1)
            self.found.files.append((operand[1:end], uleb(operand, end + 1)[0]))

    def end(self) -> None:
        rows = self.rows
        if rows and rows[0][0] < self.address and rows[0][0]:
            if any(rows[at][0] > rows[at + 1][0] for at in range(len(rows) - 1)):
                rows.sort(key=lambda row: row[0])
            self.found.runs.append((rows[0][0], self.address, _last_of_each(rows)))
        self.reset()


def _last_of_each(rows: list[Row]) -> list[Row]:
    """Rows without those that another one at the same address follows."""
    last = len(rows) - 1
    return [row for at, row in enumerate(rows) if at == last or rows[at + 1][0] != row[0]]
