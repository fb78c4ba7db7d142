"""One open descriptor for each ELF file that a process has mapped.

/proc/PID/map_files names the mapped file itself, also when it was deleted, replaced or
lies in a container. Nothing is opened by a path that the process chose, except
by an unprivileged user looking at his own processes.
"""

from __future__ import annotations

import os
import time

from ..model.snapshot import MappedFile
from ..model.types import TYPE_CHECKING
from .procfs import PAGE, open_dir, reason

if TYPE_CHECKING:
    from ..model.maps import Mapping
    from ..model.notes import NoteLog
    from .filesystems import FileSystems
    from .memory import Memory
    from .procfs import MapTable

_MAGIC = b"\x7fELF"
_REGULAR = 0o100000
_TYPE_MASK = 0o170000
# O_NONBLOCK: a lease on the file makes open fail at once instead of waiting for its holder.
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ASK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class ElfFiles:
    """Opens the ELF files of one process; `close()` closes the directory, not the files."""

    __slots__ = ("_dir", "_failed", "_files", "_memory", "_notes", "_root")

    def __init__(
        self, proc: int, tid: int, memory: Memory, files: FileSystems, notes: NoteLog
    ) -> None:
        self._memory = memory
        self._files = files
        self._notes = notes
        self._root = os.geteuid() == 0
        self._failed = 0
        self._dir = self._open_map_files(proc, tid)

    def close(self) -> None:
        """Close the directory of links."""
        if self._dir >= 0:
            os.close(self._dir)
            self._dir = -1

    def open_all(self, maps: MapTable, first: int, limit: int, deadline: float) -> list[MappedFile]:
        """The files, one for each inode, at most `limit` of them opened; the one that is mapped
        at address `first` (the crashing pc) before the others. fd is -1, with a note,
        where a file could not be opened."""
        result = []
        opened = 0
        for mapping in self._candidates(maps, first):
            if opened >= limit or time.monotonic() > deadline:
                why = "as many as we open" if opened >= limit else "no time left"
                self._notes.add("files", f"ELF files after the first {opened}", why)
                break
            fd = self._open(mapping)
            if fd >= 0:
                opened += 1
            if fd >= 0 or self._memory.read(mapping.start, 4) == _MAGIC:
                result.append(MappedFile(mapping.path, mapping.device, mapping.inode, fd))
        return result

    def _candidates(self, maps: MapTable, first: int) -> list[Mapping]:
        """One mapping for each inode that may be ELF: the one that shows its header, else
        an executable one."""
        chosen: dict[tuple[bytes, int], Mapping] = {}
        dropped: set[tuple[bytes, int]] = set()
        for mapping in maps.modules():
            key = (mapping.device, mapping.inode)
            if key in dropped:
                continue
            known = chosen.get(key)
            if mapping.offset == 0 and mapping.readable and (known is None or known.offset):
                if self._memory.read(mapping.start, 4) in (_MAGIC, b""):
                    chosen[key] = mapping
                else:
                    dropped.add(key)  # a locale archive, a font, a data base
                    chosen.pop(key, None)
            elif known is None and mapping.executable:
                chosen[key] = mapping
        crash = maps.find(first)
        key = (crash.device, crash.inode) if crash else (b"", 0)
        return sorted(chosen.values(), key=lambda one: (one.device, one.inode) != key)

    def _open(self, mapping: Mapping) -> int:
        """A descriptor that reads the mapped file, or -1."""
        if not self._files.opens(mapping.device):
            kind = self._files.type_of(mapping.device).decode("ascii", "replace")
            self._fail(mapping, f"its file system ({kind or 'not mounted here'}) may not answer")
            return -1
        try:
            if not self._root:
                fd = self._open_own(mapping)
            elif self._dir >= 0:
                name = b"%x-%x" % (mapping.start, mapping.end)
                fd = _open_regular(name, self._dir, follow=True)
            else:
                return -1  # noted when map_files could not be opened
        except OSError as error:
            self._fail(mapping, reason(error))
            return -1
        if fd < 0:
            self._fail(mapping, "not the regular file that is mapped")
            return -1
        if os.pread(fd, 4, 0) != _MAGIC:
            os.close(fd)
            return -1
        return fd

    def _open_own(self, mapping: Mapping) -> int:
        """Without privileges: the path, if it still is the file that is mapped."""
        if mapping.deleted:
            return -1
        fd = _open_regular(mapping.path, None, follow=False)
        if fd < 0:
            return -1
        state = os.fstat(fd)
        device = b"%02x:%02x" % (os.major(state.st_dev), os.minor(state.st_dev))
        # Overlay and btrfs show another device in maps than in stat: there the first page decides.
        if state.st_ino == mapping.inode and (
            device == mapping.device or self._same_start(mapping, fd)
        ):
            return fd
        os.close(fd)
        return -1

    def _same_start(self, mapping: Mapping, fd: int) -> bool:
        page = self._memory.read(mapping.start, PAGE)
        return len(page) == PAGE and os.pread(fd, PAGE, mapping.offset) == page

    def _fail(self, mapping: Mapping, why: str) -> None:
        self._failed += 1
        if self._failed <= 20:
            self._notes.add("files", mapping.path.decode("utf-8", "backslashreplace"), why)

    def _open_map_files(self, proc: int, tid: int) -> int:
        """The directory of links, of which threads have none below task/: /proc/TID has one for
        any thread, and that of a leader that has ended is empty."""
        if proc < 0 or not self._root:
            return -1  # opening through the links needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE
        try:
            links = open_dir(b"/proc/%d/map_files" % tid)
            os.stat(b"stat", dir_fd=proc)  # still there, so the number was its own when opened
        except OSError as error:
            self._notes.add("files", "descriptors of mapped files", reason(error))
            return -1
        return links


def _open_regular(name: bytes, dir_fd: int | None, follow: bool) -> int:
    """Open a file for reading once it is known to be a regular one; -1 if it is not.

    O_PATH touches neither a device nor a FIFO; the second open takes the very same file.
    """
    asked = os.open(name, _ASK & ~os.O_NOFOLLOW if follow else _ASK, dir_fd=dir_fd)
    try:
        if os.fstat(asked).st_mode & _TYPE_MASK != _REGULAR:
            return -1
        return os.open(b"/proc/self/fd/%d" % asked, _OPEN)
    finally:
        os.close(asked)
