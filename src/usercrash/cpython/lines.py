"""The line of an instruction, by the tables that CPython keeps for tracebacks.

Three forms: pairs of increments (3.8, 3.9: Objects/lnotab_notes.txt of these versions), pairs
of which one may say "no line" (3.10: the same file, PEP 626), and entries with columns (3.11 and
later: InternalDocs/code_objects.md).
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_LINE = 1 << 31


def line_of(minor: tuple[int, int], table: bytes, first: int, offset: int) -> int | None:
    """The line of the instruction `offset` bytes from the start of its code, `first` being that of
    its function; None where the table says none, or makes no sense."""
    if offset < 0:
        line: int | None = first
    elif minor < (3, 10):
        line = _by_pairs(table, first, offset)
    else:
        rows = _ranges_310(table, first) if minor < (3, 11) else _ranges(table, first)
        line = next((row for end, row in rows if offset < end), None)
    return line if line is not None and 0 < line < MAX_LINE else None


def _by_pairs(table: bytes, line: int, offset: int) -> int:
    address = 0
    for at in range(0, len(table) - 1, 2):
        address += table[at]
        if address > offset:
            break
        step = table[at + 1]
        line += step - 256 if step > 127 else step
    return line


def _ranges_310(table: bytes, line: int) -> Iterator[tuple[int, int | None]]:
    """(end, line) of each range of instructions."""
    end = 0
    for at in range(0, len(table) - 1, 2):
        end += table[at]
        step = table[at + 1]
        if step == 128:
            yield end, None
            continue
        line += step - 256 if step > 127 else step
        yield end, line


def _ranges(table: bytes, line: int) -> Iterator[tuple[int, int | None]]:
    end = at = 0
    while at < len(table):
        head = table[at]
        if not head & 128:
            return  # no entry begins so
        kind = head >> 3 & 15
        end += 2 * ((head & 7) + 1)
        at += 1
        if kind == 15:
            yield end, None
        else:
            if kind in (13, 14):
                step, at = _signed(table, at)
                line += step
            elif 10 <= kind <= 12:
                line += kind - 10
            yield end, line
        while at < len(table) and not table[at] & 128:  # columns
            at += 1


def _signed(table: bytes, at: int) -> tuple[int, int]:
    """A number of six bits a byte, the lowest first, its sign in the lowest bit."""
    value = shift = 0
    while at < len(table):
        byte = table[at]
        at += 1
        value |= (byte & 63) << shift
        shift += 6
        if not byte & 64 or shift > 60:
            break
    return (-(value >> 1) if value & 1 else value >> 1), at
