"""The notes of a core that say what the process was: PRPSINFO, AUXV, FILE."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_FILE_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class PsInfo:
    """NT_PRPSINFO: pid, the 16-byte command name, and at most 80 bytes of arguments."""

    pid: int
    comm: bytes
    args: bytes


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row of NT_FILE: [start, end) shows `path` from byte `offset` on."""

    start: int
    end: int
    offset: int
    path: bytes


def parse_psinfo(desc: bytes) -> PsInfo:
    """<sys/procfs.h>, 64 bits, 136 bytes: pr_pid at 24, pr_fname[16] at 40, pr_psargs[80] at 56."""
    return PsInfo(
        int.from_bytes(desc[24:28], "little"),
        desc[40:56].partition(b"\0")[0],
        desc[56:136].partition(b"\0")[0].rstrip(b" "),
    )


def parse_auxv(data: bytes, word: int) -> dict[int, int]:
    """The auxiliary vector's entries up to AT_NULL; the first of each type counts."""
    layout = struct.Struct("<QQ" if word == 8 else "<II")
    found: dict[int, int] = {}
    for kind, value in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
        if kind == 0:
            break
        found.setdefault(kind, value)
    return found


def parse_file_note(data: bytes, word: int) -> list[FileRow]:
    """The rows of NT_FILE (fs/binfmt_elf.c, fill_files_note): count, page size, count times
    (start, end, offset in pages), then as many NUL-terminated names. Ends at the first
    row that is not whole."""
    letter = "Q" if word == 8 else "I"
    head, layout = struct.Struct("<2" + letter), struct.Struct("<3" + letter)
    if len(data) < head.size:
        return []
    count, page = head.unpack_from(data)
    count = min(count, (len(data) - head.size) // layout.size, MAX_FILE_ROWS)
    names = data[head.size + count * layout.size :].split(b"\0", count)
    result = []
    for index in range(count):
        start, end, offset = layout.unpack_from(data, head.size + index * layout.size)
        if index + 1 >= len(names):
            break
        if start < end:
            result.append(FileRow(start, end, offset * page, names[index]))
    return result
