"""The directory of what servers gave, in the layout of debuginfod's own (BUILDID/KIND).

`BUILDID/KIND.none` says that it was asked for in vain, as long as it is young. Files are made
under another name and renamed when they have been checked.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

EXECUTABLE, DEBUGINFO = "executable", "debuginfo"
KINDS = (DEBUGINFO, EXECUTABLE)
MISS_SECONDS = 3600.0  # a file that no server had is asked for again after this time
FAILURE_SECONDS = 300.0  # one that could not be had
_LOCK_PAUSE = 0.05
_PART_SECONDS = 3600.0  # what is left of somebody who was killed


class DebugCache:
    """The cache in the directory `path`; OSError as the system says it where it cannot be made."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(path, mode=0o755, exist_ok=True)

    def known(self, build_id: bytes, kind: str) -> bool:
        """Whether nobody need be asked: the file is there, or was asked for in vain."""
        name = self._name(build_id, kind)
        if os.path.exists(name):
            return True
        try:
            return os.stat(f"{name}.none").st_mtime > time.time()
        except OSError:
            return False

    def came(self, build_id: bytes, kind: str, since_ns: int) -> bool:
        """Whether the file was put there at or after a time (since the epoch)."""
        try:
            return os.stat(self._name(build_id, kind)).st_ctime_ns >= since_ns
        except OSError:
            return False

    def begin(self, build_id: bytes, kind: str) -> tuple[str, int]:
        """(name, descriptor) of a new file to be filled."""
        name = self._name(build_id, kind)
        os.makedirs(os.path.dirname(name), mode=0o755, exist_ok=True)
        part = f"{name}.{os.urandom(6).hex()}.part"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return part, os.open(part, flags, 0o600)

    def keep(self, part: str, fd: int, build_id: bytes, kind: str) -> None:
        """Give a file that was checked its name."""
        os.fchmod(fd, 0o644)  # analyses that have become somebody else read it
        os.rename(part, self._name(build_id, kind))

    def missed(self, build_id: bytes, kind: str, seconds: float) -> None:
        """Remember for some time that it cannot be had."""
        name = f"{self._name(build_id, kind)}.none"
        os.makedirs(os.path.dirname(name), mode=0o755, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o644))
        end = time.time() + seconds  # the time when it is of no use any more
        os.utime(name, (end, end))

    @contextmanager
    def lock(self, until: float = 0.0) -> Iterator[bool]:
        """Hold the right to fetch; gives False if somebody else does and does not give it up
        before `until` (monotonic seconds)."""
        fd = os.open(os.path.join(self.path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _locked(fd, until)
        finally:
            os.close(fd)

    def shrink(self, limit: int) -> None:
        """Remove the files that were used the longest time ago, until `limit` bytes are left, and
        what is of no use any more."""
        now, total = time.time(), 0
        found: list[tuple[float, int, str]] = []
        for directory in [entry.path for entry in os.scandir(self.path) if entry.is_dir()]:
            for entry in os.scandir(directory):
                status = entry.stat(follow_symlinks=False)
                old = {".none": 0.0, ".part": _PART_SECONDS}.get(entry.name[-5:])
                if old is not None and status.st_mtime + old < now:
                    os.unlink(entry.path)
                elif stat.S_ISREG(status.st_mode):
                    total += status.st_size
                    used = max(status.st_atime, status.st_mtime)
                    found.append((used, status.st_size, entry.path))
            with suppress(OSError):  # not empty
                os.rmdir(directory)
        for _, size, path in sorted(found):
            if total <= limit:
                break
            os.unlink(path)
            total -= size
            with suppress(OSError):
                os.rmdir(os.path.dirname(path))

    def _name(self, build_id: bytes, kind: str) -> str:
        return os.path.join(self.path, build_id.hex(), kind)


def _locked(fd: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_LOCK_PAUSE)
