"""ELF cores made by hand, note by note and segment by segment."""

from __future__ import annotations

import struct

from usercrash.elf.headers import (
    EHDR64,
    NT_FILE,
    NT_PRSTATUS,
    NT_SIGINFO,
    PHDR64,
    PT_NOTE,
    encode_note,
)
from usercrash.model.snapshot import ElfNote

Segment = tuple[int, int, int, bytes, int]  # type, flags, address, contents, size in memory


def prstatus(tid: int, signal: int, rip: int = 0x401000) -> ElfNote:
    """A thread's registers: all zero but rip."""
    desc = bytearray(336)
    struct.pack_into("<H", desc, 12, signal)
    struct.pack_into("<I", desc, 32, tid)
    struct.pack_into("<Q", desc, 112 + 16 * 8, rip)
    return ElfNote(b"CORE", NT_PRSTATUS, bytes(desc))


def siginfo(number: int) -> ElfNote:
    """A siginfo with this si_signo."""
    return ElfNote(b"CORE", NT_SIGINFO, struct.pack("<i", number) + bytes(124))


def make_core(notes: list[ElfNote], segments: list[Segment] | None = None, kind: int = 4) -> bytes:
    """The bytes of a core; `segments` follow the notes."""
    note = b"".join(map(encode_note, notes))
    rows: list[Segment] = [(PT_NOTE, 0, 0, note, 0), *(segments or [])]
    at = EHDR64.size + PHDR64.size * len(rows)
    head = EHDR64.pack(
        b"\x7fELF\2\1\1" + bytes(9), kind, 62, 1, 0, 64, 0, 0, 64, 56, len(rows), 0, 0, 0
    )
    table, body = b"", b""
    for type_, flags, address, contents, size in rows:
        table += PHDR64.pack(type_, flags, at, address, 0, len(contents), size, 1)
        body += contents
        at += len(contents)
    return head + table + body


def file_note(rows: list[tuple[int, int, int]], names: list[bytes]) -> ElfNote:
    """NT_FILE: (start, end, page) of each row, and the names."""
    head = struct.pack("<QQ", len(rows), 4096)
    table = b"".join(struct.pack("<QQQ", *row) for row in rows)
    return ElfNote(b"CORE", NT_FILE, head + table + b"".join(name + b"\0" for name in names))
