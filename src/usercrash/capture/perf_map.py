"""The names that a just-in-time compiler left for perf, of a process with a /tmp of its own.

Where /tmp and pid are ours the analysis finds /tmp/perf-PID.map by itself. That of a container, or
of a service with a private /tmp, is out of reach once the process is gone: it is looked up while
the process is held, by descriptors and on file systems that are known to answer, and read when the
process has been let go.
"""

from __future__ import annotations

import os
import time

from .filesystems import FileSystems
from .procfs import status_field

FACT = b"@perf_map"
MAX_BYTES = 4 << 20
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_REGULAR, _TYPE_MASK = 0o100000, 0o170000
_ANONYMOUS, _MEMFD = b"xp 00000000 00:00 0", b" /memfd:"  # in lines of maps


def find_perf_map(proc: int, facts: dict[bytes, bytes]) -> int:
    """An O_PATH descriptor of the map that a process may have left in its own /tmp;
    -1 where there is none, or none that may be touched. OSError for what cannot be looked up.

    `facts` has its status and maps.
    """
    pid = status_field(facts.get(b"status", b""), b"NStgid").split()[-1:]
    if not pid or not pid[0].isdigit() or not makes_code(facts.get(b"maps", b"")):
        return -1
    systems = FileSystems(proc)
    above = os.open(b"root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    for name in (b"tmp", b"perf-%b.map" % pid[0]):
        try:
            if not systems.opens_mount_of(above):
                return -1
            found = os.open(name, _LOOK, dir_fd=above)
        except (FileNotFoundError, NotADirectoryError):
            return -1
        finally:
            os.close(above)
        above = found
    if systems.opens_mount_of(above):  # a file may be a mount point, too
        return above
    os.close(above)
    return -1


def read_perf_map(fd: int, facts: dict[bytes, bytes]) -> bytes:
    """The content of a file that was found: of a regular one of the process's user, written while
    it lived, and of no other name; b"" for any other. OSError as the system says it."""
    from .log_tail import process_age  # (not while the process is held)

    status = os.fstat(fd)
    uids = status_field(facts.get(b"status", b""), b"Uid").split()[:2]
    began = time.time() - process_age(facts) / 1e6
    if (
        status.st_mode & _TYPE_MASK != _REGULAR
        or status.st_nlink != 1
        or b"%d" % status.st_uid not in uids
        or status.st_mtime < began
    ):
        return b""
    file = os.open(b"/proc/self/fd/%d" % fd, _READ)
    try:
        data = b""
        while len(data) < MAX_BYTES and (piece := os.read(file, MAX_BYTES - len(data))):
            data += piece
        return data
    finally:
        os.close(file)


def makes_code(maps: bytes) -> bool:
    """Whether code of a process lies in no file, by its table of mappings."""
    at = maps.find(_ANONYMOUS)
    while at >= 0:
        path = maps[at + len(_ANONYMOUS) : maps.find(b"\n", at)].strip()
        if not path or path.startswith(b"[anon"):  # (not the vdso)
            return True
        at = maps.find(_ANONYMOUS, at + 1)
    at = maps.find(_MEMFD)
    while at >= 0:
        permissions = maps[maps.rfind(b"\n", 0, at) + 1 : at].split(b" ", 2)[1:2]
        if permissions and b"x" in permissions[0]:
            return True
        at = maps.find(_MEMFD, at + 1)
    return False
