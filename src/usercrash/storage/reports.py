"""The reports directory as a reader sees it: which slots there are, what is in them.

docs/formats.md describes the directory; `store` writes it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass

from ..errors import UsercrashError

DATA = ".data"
CLAIMS = "claims"
LAST = "last"
MAX_READ = 64 << 20

_SLOT = re.compile(r"usercrash_([0-9]{2,4})\Z")
_ID_LINE = re.compile(rb"(?:^|\n)report-id: ([0-9a-f]{32})\n\Z")
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    """A slot that holds a report. `id` is "" for a file that another program wrote;
    `time` is its modification time in seconds since the epoch."""

    number: int
    name: str
    id: str
    time: float
    size: int


def slot_name(number: int) -> str:
    """`usercrash_07`."""
    return f"usercrash_{number:02d}"


class Reports:
    """The reports directory `path` with `slots` numbers.

    With `create`, makes it (0700) and its `.data`. UsercrashError with a hint where it is
    not there, not a directory, or another user could plant names in it.
    """

    def __init__(self, path: str, slots: int = 50, *, create: bool = False) -> None:
        self.path = path
        self.slots = slots
        try:
            if create:
                os.makedirs(path, mode=0o700, exist_ok=True)
            self.dir = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._refuse_unsafe(create)
            if create:
                for name in (DATA, f"{DATA}/{CLAIMS}"):
                    try:
                        os.mkdir(name, 0o700, dir_fd=self.dir)
                    except FileExistsError:
                        continue
            self.data = self._open_data(create)
        except FileNotFoundError as error:
            raise UsercrashError(
                f"there is no reports directory {path}",
                "it is made when the server first starts; `usercrash show ./FILE` shows a report "
                "that lies elsewhere",
            ) from error
        except (FileExistsError, NotADirectoryError) as error:
            raise UsercrashError(f"reports directory {path} is not a directory") from error
        except OSError as error:
            hint = "reports are root's" if isinstance(error, PermissionError) else ""
            raise UsercrashError(f"reports directory {path}: {error.strerror}", hint) from error

    def _refuse_unsafe(self, create: bool) -> None:
        state = os.fstat(self.dir)
        if create and (state.st_uid not in (0, os.geteuid()) or state.st_mode & stat.S_IWOTH):
            raise UsercrashError(
                f"reports directory {self.path}: others could plant files in it",
                "it must belong to root or to you, and not be writable by all",
            )

    def _open_data(self, create: bool) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(DATA, flags, dir_fd=self.dir)
        except FileNotFoundError:
            if create:
                raise
            return -1  # a directory that only the reference program has written

    def descriptors(self) -> set[int]:
        """What a forked child must keep open to go on using this store."""
        return {self.dir, self.data}

    def close(self) -> None:
        """Close the directories' descriptors."""
        for fd in (self.dir, self.data):
            if fd >= 0:
                os.close(fd)
        self.dir = self.data = -1

    def last_slot(self) -> int:
        """The slot written last, from `.data/last` or else the newest report; -1 for none."""
        try:
            return int(self._read(LAST, self.data, 32)) % self.slots
        except (OSError, ValueError):
            newest = max(self.entries(), key=lambda entry: entry.time, default=None)
            return newest.number % self.slots if newest else -1

    def entries(self) -> list[Entry]:
        """All slots that hold a regular file, by number; files of other programs too."""
        found = []
        for item in os.scandir(self.dir):
            match = _SLOT.match(item.name)
            if not match:
                continue
            state = state_of(item)
            if state and stat.S_ISREG(state.st_mode):
                found.append(
                    Entry(int(match[1]), item.name, self._id_in(item.name), state.st_mtime,
                          state.st_size)
                )  # fmt: skip
        return sorted(found, key=lambda entry: entry.number)

    def newest(self) -> Entry | None:
        """The report written last, None in an empty directory."""
        # The record, because two reports of one moment have the same time.
        last = self.last_slot()
        return next((entry for entry in self.entries() if entry.number == last), None)

    def read_text(self, number: int, limit: int = MAX_READ) -> bytes:
        """The report's text without the line that names its id; UsercrashError if absent."""
        try:
            text = self._read(slot_name(number), self.dir, limit)
        except OSError as error:
            raise UsercrashError(
                f"{self.path}/{slot_name(number)}: {error.strerror}", "see: usercrash list"
            ) from error
        return _ID_LINE.sub(b"\n", text)

    def read_json(self, number: int) -> bytes | None:
        """The report as JSON; None where there is none (a file of another program)."""
        return self._companion(number, "json")

    def read_core(self, number: int) -> bytes | None:
        """The compressed minicore; None where there is none."""
        return self._companion(number, "core.zst")

    def _companion(self, number: int, suffix: str) -> bytes | None:
        crash_id = self._id_in(slot_name(number))
        if not crash_id or self.data < 0:
            return None
        try:
            return self._read(f"{crash_id}.{suffix}", self.data, 4 * MAX_READ)
        except OSError:
            return None  # not kept, or something odd in its place

    def _id_in(self, name: str) -> str:
        """The id that a slot's last line names; "" for absent, odd or foreign files."""
        try:
            fd = os.open(name, READ, dir_fd=self.dir)
        except OSError:
            return ""  # absent, or a link that somebody put there: it has no companions
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                return ""
            found = _ID_LINE.search(os.pread(fd, 64, max(0, state.st_size - 64)))
            return found[1].decode() if found else ""
        finally:
            os.close(fd)

    def _read(self, name: str, directory: int, limit: int) -> bytes:
        fd = os.open(name, READ, dir_fd=directory)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            return file.read(limit)


def state_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The state of what a directory listed, None if it is gone meanwhile."""
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None
