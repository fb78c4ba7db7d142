"""Files that a process wrote about itself, under names that are known beforehand.

They are looked up while the process is held, name by name from a directory of its own, by
descriptors that ask no file system which may not answer and follow no links; they are read
when it has been let go, and only where they are surely its own.
"""

from __future__ import annotations

import os
import time

from ..model.types import TYPE_CHECKING
from .filesystems import FileSystems
from .procfs import status_field

if TYPE_CHECKING:
    from collections.abc import Iterable

SECONDS = 0.06  # that the files of one kind are looked up for, while the process is held
_MAX_NAMES = 64  # of a path: it says how deep, and each step may lead to another mount
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_REGULAR, _TYPE_MASK = 0o100000, 0o170000


class Lookup:
    """Looks files of one process up, for SECONDS at most. The time is asked for between two steps:
    one may read a whole table of mounts."""

    def __init__(self, proc: int) -> None:
        """`proc`: a descriptor of /proc/PID."""
        self._proc = proc
        self._systems = FileSystems(proc)
        self._until = time.monotonic() + SECONDS

    def check(self) -> None:
        """TimeoutError if there is no time left."""
        if time.monotonic() > self._until:
            raise TimeoutError("no time left")

    def below(self, start: bytes, names: Iterable[bytes]) -> int:
        """An O_PATH descriptor of what lies below the directory `start` (root or cwd) of the
        process; -1 where there is none, or none that may be touched. OSError for what cannot be
        looked up, TimeoutError where no time was left."""
        above = os.open(start, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc)
        known = b""  # the mount that may be touched: it stays as long as something on it is open
        try:
            for number, name in enumerate([*names, b""]):
                mount = FileSystems.mount_of(above)
                if mount != known and not self._systems.opens_mount(mount):
                    return -1
                known = mount
                if not name:
                    found, above = above, -1
                    return found
                if name == b".." or number >= _MAX_NAMES:
                    return -1
                self.check()
                found = os.open(name, _LOOK, dir_fd=above)
                os.close(above)
                above = found
        except (FileNotFoundError, NotADirectoryError):
            pass
        finally:
            if above >= 0:
                os.close(above)
        return -1


def read_own(fd: int, facts: dict[bytes, bytes], limit: int) -> bytes:
    """The first `limit` bytes of a file that was found: of a regular one of the process's user,
    written while it lived, and of no other name; b"" for any other. OSError as the system says
    it."""
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
        while len(data) < limit and (piece := os.read(file, limit - len(data))):
            data += piece
        return data
    finally:
        os.close(file)


def own_pid(facts: dict[bytes, bytes]) -> bytes:
    """The process's number as it sees it itself, in digits; b"" where that is not known."""
    pid = status_field(facts.get(b"status", b""), b"NStgid").split()[-1:]
    return pid[0] if pid and pid[0].isdigit() else b""
