"""The notes of a core that say what the process was: PRPSINFO, AUXV, FILE."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...elf.arch import Arch

MAX_FILE_ROWS = 200_000
_PSINFO_PID = {136: 24, 128: 16, 124: 12}  # where pr_pid stands, by the size of the whole


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


def parse_psinfo(desc: bytes, arch: Arch) -> PsInfo | None:
    """struct elf_prpsinfo (<linux/elfcore.h>), None if it is of no known size: pr_pid, three more
    numbers, pr_fname[16], pr_psargs[80]; before them a long and two ids of users, which have 16
    bits in the oldest ABIs."""
    pid = _PSINFO_PID.get(len(desc))
    if pid is None:
        return None
    name = pid + 16
    return PsInfo(
        int.from_bytes(desc[pid : pid + 4], arch.byte_order),
        desc[name : name + 16].partition(b"\0")[0],
        desc[name + 16 : name + 96].partition(b"\0")[0].rstrip(b" "),
    )


def thread_pointer(desc: bytes, selector: int) -> int | None:
    """Of NT_386_TLS (struct user_desc of <asm/ldt.h>: entry, base, limit, flags, for each of a
    thread's segments): the base of the one that the segment register `selector` names."""
    for entry, base, _, _ in struct.iter_unpack("<4I", desc[: len(desc) // 16 * 16]):
        if entry == selector >> 3:
            return int(base)
    return None


def parse_auxv(data: bytes, arch: Arch) -> dict[int, int]:
    """The auxiliary vector's entries up to AT_NULL; the first of each type counts."""
    layout = struct.Struct(arch.order + ("QQ" if arch.long == 8 else "II"))
    found: dict[int, int] = {}
    for kind, value in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
        if kind == 0:
            break
        found.setdefault(kind, value)
    return found


def parse_file_note(data: bytes, arch: Arch) -> list[FileRow]:
    """The rows of NT_FILE (fs/binfmt_elf.c, fill_files_note): count, page size, count times
    (start, end, offset in pages), then as many NUL-terminated names. Ends at the first
    row that is not whole."""
    letter = "Q" if arch.long == 8 else "I"
    head, layout = struct.Struct(f"{arch.order}2{letter}"), struct.Struct(f"{arch.order}3{letter}")
    if len(data) < head.size:
        return []
    count, page = head.unpack_from(data)
    possible = (len(data) - head.size) // layout.size
    lies = count > possible  # then the names do not begin where it says
    count = min(count, possible, MAX_FILE_ROWS)
    names = data[head.size + count * layout.size :].split(b"\0", count)
    result = []
    for index in range(count):
        start, end, offset = layout.unpack_from(data, head.size + index * layout.size)
        if index + 1 >= len(names):
            break
        if start < end and (names[index][:1] == b"/" or not lies):
            result.append(FileRow(start, end, offset * page, names[index]))
    return result
