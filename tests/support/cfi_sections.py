"""Call frame sections that tests make, of a CIE and one FDE."""

from __future__ import annotations

import struct

from usercrash.analysis.dwarf.cfi import FrameSection, Row
from usercrash.analysis.dwarf.frame_index import FrameTable


def uleb(value: int) -> bytes:
    """The number as LEB128."""
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def entry_of(content: bytes) -> bytes:
    """An entry with its length in front, padded to 4 bytes."""
    content += b"\0" * (-len(content) % 4)
    return struct.pack("<I", len(content)) + content


def cie_of(program: bytes, augmentation: bytes = b"zR", data: bytes = b"\x00") -> bytes:
    """A CIE for x86-64; `data` is that of an augmentation that begins with z."""
    head = b"\0\0\0\0\x01" + augmentation + b"\0" + b"\x01\x78\x10"  # version 1; 1, -8, ra 16
    if augmentation.startswith(b"z"):
        head += uleb(len(data)) + data
    return entry_of(head + program)


CIE_PROGRAM = b"\x0c\x07\x08\x90\x01"  # def_cfa rsp+8; offset ra, 1


def frames_of(program: bytes, cie: bytes | None = None, augmented: bool = True) -> FrameSection:
    """An .eh_frame with one FDE, of [0x1000, 0x1100), with these instructions."""
    first = cie if cie is not None else cie_of(CIE_PROGRAM)
    body = struct.pack("<IQQ", len(first) + 4, 0x1000, 0x100) + (b"\0" if augmented else b"")
    return FrameSection(first + entry_of(body + program) + b"\0\0\0\0", 0)


def row_of(program: bytes, pc: int = 0x1050) -> Row:
    """The row at a pc of that FDE; FormatError for a broken one."""
    row = FrameTable(frames_of(program)).row(pc)
    assert row is not None
    return row
