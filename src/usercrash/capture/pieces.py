"""What was taken of memory, put in order: when the process has been let go."""

from __future__ import annotations

from ..elf.headers import PF_R, PF_W, PF_X
from ..model.snapshot import Load
from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from .procfs import MapTable


def joined(pieces: list[tuple[int, bytes]], maps: MapTable) -> list[Load]:
    """Memory as (address, bytes), sorted, and adjacent pieces of one mapping as one."""
    pieces.sort()
    loads: list[Load] = []
    parts: list[bytes] = []
    start = end = -1
    mapping_end = flags = 0
    for address, data in pieces:
        if address == end and end < mapping_end:
            parts.append(data)
            end += len(data)
            continue
        if parts:
            loads.append(Load(start, b"".join(parts), flags))
        mapping = maps.find(address)
        flags = _flags(mapping.perms) if mapping else PF_R
        mapping_end = mapping.end if mapping else 0
        start, end, parts = address, address + len(data), [data]
    if parts:
        loads.append(Load(start, b"".join(parts), flags))
    return loads


def _flags(perms: bytes) -> int:
    read, write, execute = perms[:1] == b"r", perms[1:2] == b"w", perms[2:3] == b"x"
    return PF_R * read | PF_W * write | PF_X * execute
