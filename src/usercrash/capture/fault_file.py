"""The file whose mapping a SIGBUS hit: its size tells whether it was cut or its memory ran out."""

from __future__ import annotations

import os

from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from .filesystems import FileSystems
    from .procfs import MapTable

FACT = b"@fault_file"


def fault_file(
    address: int, tid: int, maps: MapTable, systems: FileSystems, table: dict[bytes, bytes]
) -> None:
    """Put `TYPE SIZE FREE` into the table: the type of its file system, its size and the free
    bytes there. Nothing if the address is in no file, or if its file system may not answer;
    OSError as from open(2) and statvfs(3)."""
    mapping = maps.find(address)
    if mapping is None or not mapping.inode or not systems.opens(mapping.device):
        return
    # The link is of the process, not of a thread; any thread's number finds it.
    link = b"/proc/%d/map_files/%x-%x" % (tid, mapping.start, mapping.end)
    size, room = os.stat(link).st_size, os.statvfs(link)
    kind = systems.type_of(mapping.device)
    table[FACT] = b"%b %d %d" % (kind, size, room.f_bavail * room.f_frsize)
