"""From a pc to its call frame information: `.eh_frame_hdr`, or an index made of the section.

Source: LSB Core 5.0 section 10.6.2 (`.eh_frame_hdr`: version 1, three encodings, the
pointer to `.eh_frame`, the number of rows, the rows sorted by address).
"""

from __future__ import annotations

import struct
from bisect import bisect_right

from ...errors import FormatError
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
        self._row = struct.Struct(order + 2 * (letter if encoding & 0x08 else letter.upper()))
        self._table = data[at:]
        self._base = address if base == DW_EH_PE_datarel else 0
        self.count = min(count, len(self._table) // self._row.size)

    def find(self, pc: int) -> int | None:
        """The address of the FDE whose code begins last before (or at) `pc`."""
        table, row = self._table, self._row
        low, high, size = 0, self.count, self._row.size
        wanted = pc - self._base
        while low < high:
            middle = (low + high) // 2
            if row.unpack_from(table, middle * size)[0] <= wanted:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return None
        address: int = row.unpack_from(table, (low - 1) * size)[1]
        return address + self._base


class FrameTable:
    """One section of call frame information with its index.

    `header` None: an index is made of the section at the first question.
    """

    def __init__(self, section: FrameSection, header: EhFrameHdr | None = None) -> None:
        self.section = section
        self.header = header if header is not None and header.count else None
        self._starts: list[int] | None = None
        self._offsets: list[int] = []

    def find(self, pc: int) -> Fde | None:
        """The FDE that covers `pc`; None if none does. FormatError for a broken entry."""
        if self.header is not None:
            address = self.header.find(pc)
            offset = None if address is None else address - self.section.address
        else:
            offset = self._indexed(pc)
        if offset is None:
            return None
        fde = self.section.fde(offset)
        return fde if fde.start <= pc < fde.end else None

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
        while offset + 4 <= size and len(rows) < MAX_INDEX:
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
