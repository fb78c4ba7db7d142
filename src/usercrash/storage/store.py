"""The reports directory: `usercrash_NN`, their companions, and what is still being written.

    usercrash_NN          a report, text; its last line names the crash's id
    .data/ID.json         the same report as JSON
    .data/ID.core.zst     its minicore
    .data/ID.report       being collected: what the client writes (spool)
    .data/ID.mini         being collected: the raw minicore (spool)
    .data/ID.XXXXXXXX.part  a report just before its rename to usercrash_NN, the one commit point
    .data/last            the number of the slot that was written last
    .data/claims/KEY      the name of the .part that published the crash with this claim key

Every name is made here; nothing follows a symbolic link. Numbers are taken, and
slots replaced, under a lock on the reports directory itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ..descriptors import write_all
from ..errors import UsercrashError

DATA = ".data"
CLAIMS = "claims"
LAST = "last"
LOCK_SECONDS = 10.0
ORPHAN_SECONDS = 3600  # companions of no slot may belong to a report just being published
CLAIM_SECONDS = 7 * 86400
MAX_READ = 64 << 20

_SLOT = re.compile(r"usercrash_([0-9]{2,4})\Z")
_ID_LINE = re.compile(rb"(?:^|\n)report-id: ([0-9a-f]{32})\n\Z")
_COMPANION = re.compile(r"([0-9a-f]{32})\.(?:json|core\.zst)\Z")
_PART = re.compile(r"([0-9a-f]{32})\.(?:(?:json|core\.zst)\.)?(?:[0-9a-f]{8}\.)?part\Z")
_SPOOL = re.compile(r"([0-9a-f]{32})\.(?:report|mini)\Z")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class AlreadyPublishedError(Exception):
    """Somebody else has published this crash; nothing was written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A slot that holds a report. `id` is "" for a file that another program wrote;
    `time` is its modification time in seconds since the epoch."""

    number: int
    name: str
    id: str
    time: float
    size: int


@dataclass(frozen=True, slots=True)
class Spool:
    """The two files that a collector fills, open for reading and writing."""

    report: int
    core: int

    def close(self) -> None:
        os.close(self.report)
        os.close(self.core)


def slot_name(number: int) -> str:
    """`usercrash_07`."""
    return f"usercrash_{number:02d}"


class Store:
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
                f"there is no reports directory {path}", "it is made when the server first starts"
            ) from error
        except (FileExistsError, NotADirectoryError) as error:
            raise UsercrashError(f"reports directory {path} is not a directory") from error
        except OSError as error:
            raise UsercrashError(f"reports directory {path}: {error.strerror}") from error

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

    # -- collecting -------------------------------------------------------------------

    def create_spool(self, crash_id: str) -> Spool:
        """Make the two files that the collector of this crash fills; OSError as it comes."""
        report = os.open(f"{crash_id}.report", _CREATE, 0o600, dir_fd=self.data)
        try:
            core = os.open(f"{crash_id}.mini", _CREATE, 0o600, dir_fd=self.data)
        except OSError:
            os.close(report)
            self._unlink(f"{crash_id}.report")
            raise
        return Spool(report, core)

    def open_spool(self, crash_id: str) -> Spool:
        """Open what an earlier server made; FileNotFoundError if it is not there."""
        report = os.open(f"{crash_id}.report", _READ, dir_fd=self.data)
        try:
            return Spool(report, os.open(f"{crash_id}.mini", _READ, dir_fd=self.data))
        except OSError:
            os.close(report)
            raise

    def spooled(self) -> list[str]:
        """The ids of all crashes that have spool files, oldest first."""
        found = []
        for entry in os.scandir(self.data):
            match = _SPOOL.match(entry.name)
            state = _state(entry) if match else None
            if match and state:
                found.append((state.st_mtime_ns, match[1]))
        return list(dict.fromkeys(crash_id for _, crash_id in sorted(found)))

    def remove_spool(self, crash_id: str) -> None:
        """Remove the collector's files; absent ones are passed over."""
        self._unlink(f"{crash_id}.report")
        self._unlink(f"{crash_id}.mini")

    # -- publishing -------------------------------------------------------------------

    def publish(
        self, crash_id: str, key: bytes, text: bytes, json: bytes | None, core: bytes | None
    ) -> int:
        """Make the report visible as the next `usercrash_NN`; gives NN.

        `key` is claimed first: AlreadyPublishedError if another collector did it. On a full disk
        the minicore is given up first, then the JSON, and the report says so.
        UsercrashError if not even the text could be written; nothing is visible then.
        """
        # Names of our own: another collector may be publishing the same crash at this moment.
        token = os.urandom(4).hex()
        part = f"{crash_id}.{token}.part"
        companions: dict[str, str] = {}  # what is written to what it will be called
        body = text + (b"" if text.endswith(b"\n") else b"\n")
        try:
            for suffix, content in (("core.zst", core), ("json", json)):
                if content is None:
                    continue
                try:
                    self._write_new(f"{crash_id}.{suffix}.{token}.part", content)
                except OSError as error:
                    body += _not_kept(suffix, error)
                else:
                    companions[f"{crash_id}.{suffix}.{token}.part"] = f"{crash_id}.{suffix}"
            while True:
                try:
                    self._write_new(part, body + f"report-id: {crash_id}\n".encode())
                    return self._commit(key, part, companions)
                except OSError as error:
                    if error.errno not in _NO_ROOM or not companions:
                        raise
                    first = next(iter(companions))
                    self._unlink(first)
                    self._unlink(part)
                    body += _not_kept(companions.pop(first).partition(".")[2], error)
        except OSError as error:
            raise UsercrashError(
                f"report of crash {crash_id} in {self.path}: {error.strerror}"
            ) from error
        finally:
            for name in (part, *companions):
                self._unlink(name)  # there only if it was not published

    def _commit(self, key: bytes, part: str, companions: dict[str, str]) -> int:
        with self.lock():
            self._claim(key, part)
            renamed = []
            try:
                for written, name in companions.items():
                    os.rename(written, name, src_dir_fd=self.data, dst_dir_fd=self.data)
                    renamed.append((name, written))
                number = self._rename_to_next(part)
            except BaseException:
                for name, written in renamed:
                    os.rename(name, written, src_dir_fd=self.data, dst_dir_fd=self.data)
                self._unlink(f"{CLAIMS}/{key.hex()}")
                raise
        return number

    def _rename_to_next(self, part: str) -> int:
        """Rename to the first slot after the last one that can be replaced."""
        failure: OSError | None = None
        start = self.last_slot()
        for step in range(1, self.slots + 1):
            number = (start + step) % self.slots
            name = slot_name(number)
            old = self._id_in(name)
            try:
                # The number first: after a kill between the two, a slot is skipped, none is lost.
                self._write_last(number)
                os.rename(part, name, src_dir_fd=self.data, dst_dir_fd=self.dir)
            except OSError as error:
                if error.errno not in (errno.EISDIR, errno.EBUSY, errno.EPERM):
                    raise
                failure = error  # somebody put a directory there, or made it immutable
                continue
            if old:
                self._unlink(f"{old}.json")
                self._unlink(f"{old}.core.zst")
            self._sync(self.dir)
            return number
        raise failure or OSError(errno.EIO, os.strerror(errno.EIO))

    def _claim(self, key: bytes, part: str) -> None:
        """Under the lock. AlreadyPublishedError if somebody else has published it."""
        if self.claimed(key):
            raise AlreadyPublishedError
        name = f"{CLAIMS}/{key.hex()}"
        self._unlink(name)  # of somebody who died before the rename
        fd = os.open(name, _CREATE, 0o600, dir_fd=self.data)
        try:
            os.write(fd, part.encode())
        except OSError:
            self._unlink(name)
            raise
        finally:
            os.close(fd)

    def claimed(self, key: bytes) -> bool:
        """Whether the crash with this claim key was published by anybody.

        A claim whose .part is still there is of somebody who was killed before the rename,
        or, without the lock, of somebody who is just about to do it.
        """
        try:
            part = os.fsdecode(self._read(f"{CLAIMS}/{key.hex()}", self.data, 256))
        except FileNotFoundError:
            return False
        except OSError:
            return True  # something odd in its place
        return not _PART.match(part) or not self._is_there(part)

    def _is_there(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self.data, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock on the reports directory; UsercrashError after LOCK_SECONDS."""
        # A descriptor of its own: a flock belongs to the open file, which forks share.
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.dir)
        deadline = time.monotonic() + LOCK_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise UsercrashError(f"{self.path} is locked by another process") from None
                    time.sleep(0.002)
            yield
        finally:
            os.close(fd)

    def last_slot(self) -> int:
        """The slot written last, from `.data/last` or else the newest report; -1 for none."""
        try:
            return int(self._read(LAST, self.data, 32)) % self.slots
        except (OSError, ValueError):
            newest = max(self.entries(), key=lambda entry: entry.time, default=None)
            return newest.number % self.slots if newest else -1

    def _write_last(self, number: int) -> None:
        fd = os.open(
            f"{LAST}.part", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
            dir_fd=self.data,
        )  # fmt: skip
        try:
            os.truncate(fd, 0)
            os.write(fd, b"%d\n" % number)
        finally:
            os.close(fd)
        os.rename(f"{LAST}.part", LAST, src_dir_fd=self.data, dst_dir_fd=self.data)

    def collect_garbage(self, keep: set[str]) -> None:
        """Remove companions that no slot refers to, and claims that are of no use any more."""
        used = {entry.id for entry in self.entries()}
        now = time.time()
        with self.lock():
            for entry in os.scandir(self.data):
                found = _PART.match(entry.name) or _COMPANION.match(entry.name)
                if not found or found[1] in keep:
                    continue
                if found[1] in used and not entry.name.endswith(".part"):
                    continue
                if (state := _state(entry)) and now - state.st_mtime > ORPHAN_SECONDS:
                    self._unlink(entry.name)
            claims = os.open(CLAIMS, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.data)
            try:
                for entry in os.scandir(claims):
                    if (state := _state(entry)) and now - state.st_mtime > CLAIM_SECONDS:
                        self._unlink(f"{CLAIMS}/{entry.name}")
            finally:
                os.close(claims)

    # -- reading ----------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """All slots that hold a regular file, by number; files of other programs too."""
        found = []
        for item in os.scandir(self.dir):
            match = _SLOT.match(item.name)
            if not match:
                continue
            state = _state(item)
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

    # -- names and bytes --------------------------------------------------------------

    def _id_in(self, name: str) -> str:
        """The id that a slot's last line names; "" for absent, odd or foreign files."""
        try:
            fd = os.open(name, _READ, dir_fd=self.dir)
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
        fd = os.open(name, _READ, dir_fd=directory)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            return file.read(limit)

    def _write_new(self, part: str, content: bytes) -> None:
        """Write `content` to a new file, flushed to disk; nothing is left if that fails."""
        fd = os.open(part, _CREATE, 0o600, dir_fd=self.data)
        try:
            write_all(fd, content)
            self._sync(fd)
        except OSError:
            self._unlink(part)
            raise
        finally:
            os.close(fd)

    def _sync(self, fd: int) -> None:
        os.fsync(fd)

    def _unlink(self, name: str) -> None:
        """Remove a file of .data; what cannot be removed now goes with the garbage."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self.data)


def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The state of what a directory listed, None if it is gone meanwhile."""
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None


def _not_kept(suffix: str, error: OSError) -> bytes:
    return f"note: store: {suffix} was not kept: {error.strerror}\n".encode()
