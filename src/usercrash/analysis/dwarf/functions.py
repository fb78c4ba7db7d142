"""Functions at an address: the subprogram and what is inlined in it, and what calls what.
(DWARF 5 sections 3.3.1, 3.3.8, 3.4; GNU's call sites before version 5.)"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import FormatError
from .address_ranges import Ranges, covers, ranges_of
from .attributes import AT_abstract_origin, AT_call_origin, AT_call_return_pc, AT_low_pc
from .names import name_of
from .units import Entry, Unit

TAG_lexical_block, TAG_subprogram, TAG_inlined_subroutine = 0x0B, 0x2E, 0x1D
TAG_call_site, TAG_GNU_call_site = 0x48, 0x4109
# Entries below which no code lies: array, enumeration, function type, union, inlined function
_CLOSED = frozenset((0x01, 0x04, 0x15, 0x17, TAG_inlined_subroutine))
# Class and structure: gcc, which alone says where a type ends, has only declarations in them, but
# for those that are local to a function
_TYPES = frozenset((0x02, 0x13))
_AT_call_column, _AT_call_file, _AT_call_line = 0x57, 0x58, 0x59
_AT_call_tail_call, _AT_GNU_tail_call = 0x82, 0x2115
MAX_DEPTH = 128  # of lexical blocks and inlined functions in each other
_MAX_FUNCTIONS = 500_000
_MAX_CALLS = 100_000


@dataclass(frozen=True, slots=True)
class Level:
    """One function at an address. `entry` is the concrete or inlined one; `call_*` say where it
    was inlined (0: not known; the file by its number)."""

    entry: Entry
    start: int
    call_file: int = 0
    call_line: int = 0
    call_column: int = 0


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call in a function. `return_pc` is behind it, None where only a tail call's own address
    is known; `target` is the callee's first address, None where only its `name` (the linker's)
    is known, and that is b"" for a call through a pointer."""

    return_pc: int | None
    tail: bool
    target: int | None
    name: bytes


class FunctionIndex:
    """The functions of a unit by address."""

    def __init__(self, unit: Unit) -> None:
        """Reads the unit once; functions behind what is broken in it are not known."""
        self.unit = unit
        rows: list[tuple[int, int, int]] = []
        try:
            _collect(unit, rows)
        except FormatError:
            pass  # the functions before it are true; `file.work` says if it was too much
        rows.sort(key=lambda row: (row[0], -row[1]))
        self._rows = rows
        self._starts = [row[0] for row in rows]

    def at(self, address: int) -> Entry | None:
        """The innermost concrete function at an address (functions may nest)."""
        index = bisect_right(self._starts, address)
        for low, high, offset in reversed(self._rows[max(0, index - 64) : index]):
            if low <= address < high:
                return self.unit.entry(offset)
        return None


def _collect(unit: Unit, rows: list[tuple[int, int, int]]) -> None:
    """(start, end, offset) of all subprograms with code, also of those in other functions."""
    at, depth, count = unit.root.end, 1, 0
    function_end = 0  # of the outermost function around
    while at < unit.end and depth and len(rows) < _MAX_FUNCTIONS:
        count += 1
        if not count & 1023:
            unit.file.work.spend(2048)
        layout, end = unit.step(at)
        if layout is None:
            depth -= 1
        elif layout.tag == TAG_subprogram:
            if layout.placed:
                _add_code(unit, at, rows)
            depth += layout.children
            if at >= function_end and layout.children:
                function_end = unit.behind_step(layout, end) if layout.sibling else unit.end
        elif layout.children and (
            layout.tag in _CLOSED
            or (layout.tag in _TYPES and layout.sibling and at >= function_end)
        ):
            end = unit.behind_step(layout, end)
        else:
            depth += layout.children
        at = end


def _add_code(unit: Unit, at: int, rows: list[tuple[int, int, int]]) -> None:
    """The addresses of the function at an offset, if it is a concrete one."""
    try:
        entry = unit.entry(at)
        ranges = ranges_of(entry) if entry is not None else []
    except FormatError:
        return  # (its ranges alone are broken, or its attributes)
    rows += [(low, high, at) for low, high in ranges if low]


def levels(function: Entry, address: int) -> list[Level]:
    """The function and what is inlined in it at an address, innermost first."""
    chain = [Level(function, _start(function, ranges_of(function), address))]
    parent: Entry | None = function
    for _ in range(MAX_DEPTH):
        if parent is None:
            break
        parent = _child_at(parent, address)
        if parent is not None and parent.tag == TAG_inlined_subroutine:
            chain.append(
                Level(
                    parent,
                    _start(parent, ranges_of(parent), address),
                    parent.number(_AT_call_file) or 0,
                    parent.number(_AT_call_line) or 0,
                    parent.number(_AT_call_column) or 0,
                )
            )
    return chain[::-1]


def _start(entry: Entry, ranges: Ranges, address: int) -> int:
    low = entry.address(AT_low_pc)
    if low is not None and covers(ranges, low):
        return low
    return ranges[0][0] if ranges else address


def _child_at(parent: Entry, address: int, depth: int = MAX_DEPTH) -> Entry | None:
    """The block or inlined function below an entry that holds the address.

    A block without addresses of its own may hold some that have: gcc leaves such in split parts.
    """
    for child in parent.unit.children(parent):
        if child.tag in (TAG_lexical_block, TAG_inlined_subroutine):
            try:
                ranges = ranges_of(child)
            except FormatError:
                continue  # its own ranges are broken: a sibling may still hold the address
            if covers(ranges, address):
                return child
            if depth and not ranges and child.tag == TAG_lexical_block and child.children:
                found = _child_at(child, address, depth - 1)
                if found is not None:
                    return found
    return None


# --- calls ---


def calls_of(function: Entry) -> list[CallSite]:
    """What a function calls, as far as the compiler noted it, with calls of inlined functions."""
    return [_call(entry) for entry in call_entries(function)]


def call_entries(function: Entry) -> Iterator[Entry]:
    """The entries of the calls in a function, also of those in functions that are inlined in it."""
    todo = [function]
    count = 0
    while todo and count < _MAX_CALLS:
        parent = todo.pop()
        for child in parent.unit.children(parent):
            if child.tag in (TAG_call_site, TAG_GNU_call_site):
                count += 1
                yield child
            elif child.tag in (TAG_lexical_block, TAG_inlined_subroutine) and child.children:
                todo.append(child)


def is_tail_call(entry: Entry) -> bool:
    """Whether a call site is a jump that ends its function."""
    return bool(entry.number(_AT_call_tail_call) or entry.number(_AT_GNU_tail_call))


def _call(entry: Entry) -> CallSite:
    tail = is_tail_call(entry)
    after = entry.address(AT_call_return_pc)
    if after is None and entry.tag == TAG_GNU_call_site:
        after = entry.address(AT_low_pc)
    target, name = None, b""
    try:
        callee = entry.reference(AT_call_origin) or entry.reference(AT_abstract_origin)
        if callee is not None:
            ranges = ranges_of(callee)
            target = _start(callee, ranges, 0) if ranges else None
            name = name_of(callee)[0]
    except FormatError:
        pass  # a call of something: that alone is told
    return CallSite(after, tail, target, name)
