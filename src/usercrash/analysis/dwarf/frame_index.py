"""From a pc to its call frame information: `.eh_frame_hdr`, or an index made of the section.

Source: LSB Core 5.0 section 10.6.2 (`.eh_frame_hdr`: version 1, three encodings, the
pointer to `.eh_frame`, the number of rows, the rows sorted by address).
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from operator import le
from typing import Literal

from ...errors import FormatError
from ..binary.effort import affordable, spend
from .cfi import Fde, FrameSection, Row
from .encodings import (
    Buffer,
    DW_EH_PE_datarel,
    DW_EH_PE_omit,
    PointerBases,
    pointer,
    pointer_size,
)

MAX_INDEX = 1_000_000  # entries of an index that we make ourselves
_BATCH = 256  # entries that are paid for together
_COMPARED = 16  # rows of a table that are compared in a step
_CASTS: dict[str, Literal["h", "H", "i", "I", "q", "Q"]] = {
    "h": "h", "H": "H", "i": "i", "I": "I", "q": "q", "Q": "Q",
}  # fmt: skip
_LETTERS = {2: "h", 4: "i", 8: "q"}


class EhFrameHdr:
    """A parsed `.eh_frame_hdr`: the address of `.eh_frame`, and the search table if it has one
    of a form that can be searched."""

    def __init__(self, data: Buffer, address: int, word: int = 8, order: str = "<") -> None:
        """FormatError unless it is version 1 with a pointer to `.eh_frame`."""
        if len(data) < 4 or data[0] != 1:
            raise FormatError("no .eh_frame_hdr")
        bases = PointerBases(address, word, order, data=address)
        self.eh_frame, at = pointer(data, 4, data[1], bases)
        if self.eh_frame == 0:
            raise FormatError(".eh_frame_hdr names no .eh_frame")
        self.count = 0
        encoding = data[3]
        size = pointer_size(encoding, word)
        base = encoding & 0xF0
        if DW_EH_PE_omit in (data[2], encoding) or not size:
            return
        if base not in (0, DW_EH_PE_datarel):
            return  # (pcrel rows, say, have a different base each: nobody writes them)
        count, at = pointer(data, at, data[2], bases)
        letter = _LETTERS[size]
        cells = _numbers(data[at:], letter if encoding & 0x08 else letter.upper(), order, 2 * count)
        self._base = address if base == DW_EH_PE_datarel else 0
        self._starts, self._entries = cells[::2], cells[1::2]
        self.count = len(self._entries)

    def lookup(self, pc: int) -> tuple[int, int] | None:
        """(where the code begins, address of its FDE) of the last that begins before (or at)
        `pc`, as the table has it."""
        index = bisect_right(self._starts, pc - self._base, 0, self.count) - 1
        if index < 0:
            return None
        return self._starts[index] + self._base, self._entries[index] + self._base

    def sorted(self) -> bool:
        """Whether the table is in order, as the search assumes."""
        starts = self._starts
        return spend(len(starts) // _COMPARED) and all(map(le, starts, starts[1:]))


def _numbers(data: Buffer, letter: str, order: str, most: int) -> Sequence[int]:
    """At most `most` numbers of a format letter, an even number of them."""
    size = struct.calcsize("=" + letter)
    count = min(most, len(data) // size) & -2
    raw = memoryview(data)[: count * size]
    if (order == "<") != (sys.byteorder == "little"):
        swapped = array(letter, raw.tobytes())
        swapped.byteswap()
        raw = memoryview(swapped).cast("B")
    return raw.cast(_CASTS[letter])


class FrameTable:
    """One section of call frame information with its index.

    `header` None: an index is made of the section at the first question.
    """

    def __init__(self, section: FrameSection, header: EhFrameHdr | None = None) -> None:
        self.section = section
        self.header = header if header is not None and header.count else None
        self._trusted: bool | None = None  # the header, once there was reason to ask
        self._starts: list[int] | None = None
        self._offsets: list[int] = []

    def find(self, pc: int) -> Fde | None:
        """The FDE that covers `pc`; None if none does. FormatError for a broken entry."""
        if self.header is not None:
            fde, proven = self._by_header(self.header, pc)
            if fde is not None or proven:
                return fde
            self.header = None  # it lies
        offset = self._indexed(pc)
        if offset is None:
            return None
        fde = self.section.fde(offset)
        return fde if fde.start <= pc < fde.end else None

    def _by_header(self, header: EhFrameHdr, pc: int) -> tuple[Fde | None, bool]:
        """(the FDE that covers `pc`, whether the header is to be believed)."""
        row = header.lookup(pc)
        if row is not None:
            try:
                fde = self.section.fde(row[1] - self.section.address)
            except FormatError:
                return None, False
            if fde.start != row[0]:
                return None, False
            if pc < fde.end:
                return fde, True
        if self._trusted is None:
            self._trusted = header.sorted()
        return None, self._trusted

    def row(self, pc: int) -> Row | None:
        """The rules at `pc`, None where this table has none. FormatError for broken ones."""
        fde = self.find(pc)
        return None if fde is None else self.section.row(fde, pc)

    def _indexed(self, pc: int) -> int | None:
        if self._starts is None:
            rows = sorted(self._scan())
            self._starts = [row[0] for row in rows]
            self._offsets = [row[1] for row in rows]
        index = bisect_right(self._starts, pc) - 1
        return self._offsets[index] if index >= 0 else None

    def _scan(self) -> list[tuple[int, int]]:
        """(start, offset) of every FDE; broken ones are passed over while their length is whole."""
        section = self.section
        rows: list[tuple[int, int]] = []
        offset, size = 0, len(section.data)
        paid = 0
        while offset + 4 <= size and len(rows) < MAX_INDEX:
            if not paid:
                paid = affordable(_BATCH)
                if not paid:
                    break
            paid -= 1
            try:
                at, end, owner = section.entry(offset)
            except FormatError:
                break
            if owner is not None:
                try:
                    start, _, length = section.code_range(section.cie(owner), at)
                except FormatError:
                    start = length = 0
                if start and length:  # what --gc-sections dropped keeps an FDE at address 0
                    rows.append((start, offset))
            offset = end  # (a terminator, which may stand in the middle, is 4 bytes)
        return rows
