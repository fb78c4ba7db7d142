"""The mappings of a core that has no `maps`: by its program headers and NT_FILE."""

from __future__ import annotations

from bisect import bisect_right

from ...elf.headers import AT_RANDOM, AT_SYSINFO_EHDR, PF_R, PF_W, PF_X, PT_LOAD, ProgramHeader
from ...model.maps import Mapping, split_deleted
from .elf_notes import FileRow

UNKNOWN_PERMISSIONS = b"???p"  # a mapping that only NT_FILE names


def made_mappings(
    segments: list[ProgramHeader], file_rows: list[FileRow], auxv: dict[int, int]
) -> list[Mapping]:
    """A mapping for each segment, with the file and the offset that NT_FILE has for its place; and
    those that only NT_FILE names."""
    rows = sorted(file_rows, key=lambda row: row.start)
    starts = [row.start for row in rows]
    mappings = []
    covered: set[int] = set()
    for segment in segments:
        if segment.type != PT_LOAD or segment.memsz == 0:
            continue
        start, end = segment.vaddr, segment.vaddr + segment.memsz
        at = bisect_right(starts, start) - 1
        mapping = Mapping(start, end, permissions_of(segment.flags))
        if at >= 0 and rows[at].start <= start < rows[at].end:
            row = rows[at]
            covered.add(row.start)
            mapping.offset = row.offset + start - row.start
            mapping.path, mapping.deleted = split_deleted(row.path)
        else:
            mapping.path = _special_name(start, end, auxv)
        mappings.append(mapping)
    for row in rows:  # gcore leaves out what a file can give
        if row.start not in covered:
            path, deleted = split_deleted(row.path)
            mappings.append(
                Mapping(row.start, row.end, UNKNOWN_PERMISSIONS, row.offset,
                        path=path, deleted=deleted)
            )  # fmt: skip
    return mappings


def _special_name(start: int, end: int, auxv: dict[int, int]) -> bytes:
    if start <= auxv.get(AT_SYSINFO_EHDR, -1) < end:
        return b"[vdso]"
    if start <= auxv.get(AT_RANDOM, -1) < end:
        return b"[stack]"
    return b""


def permissions_of(flags: int) -> bytes:
    """What `maps` would say of a private mapping of a segment with these flags."""
    return (
        (b"r" if flags & PF_R else b"-")
        + (b"w" if flags & PF_W else b"-")
        + (b"x" if flags & PF_X else b"-")
        + b"p"
    )
