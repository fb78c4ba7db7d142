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
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ..descriptors import write_all
from ..errors import UsercrashError
from .reports import CLAIMS, LAST, READ, Reports, slot_name, state_of

LOCK_SECONDS = 10.0
ORPHAN_SECONDS = 3600  # companions of no slot may belong to a report just being published
CLAIM_SECONDS = 7 * 86400

_COMPANION = re.compile(r"([0-9a-f]{32})\.(?:json|core\.zst)\Z")
_PART = re.compile(r"([0-9a-f]{32})\.(?:(?:json|core\.zst)\.)?(?:[0-9a-f]{8}\.)?part\Z")
_SPOOL = re.compile(r"([0-9a-f]{32})\.(?:report|mini)\Z")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class AlreadyPublishedError(Exception):
    """Somebody else has published this crash; nothing was written."""


@dataclass(frozen=True, slots=True)
class Spool:
    """The two files that a collector fills, open for reading and writing."""

    report: int
    core: int

    def close(self) -> None:
        """Close both."""
        os.close(self.report)
        os.close(self.core)


class Store(Reports):
    """The reports directory as its writers see it: spool, publication, claims."""

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
        report = os.open(f"{crash_id}.report", READ, dir_fd=self.data)
        try:
            return Spool(report, os.open(f"{crash_id}.mini", READ, dir_fd=self.data))
        except OSError:
            os.close(report)
            raise

    def spooled(self) -> dict[str, int]:
        """The ids of all crashes that have spool files, and when these were last written to
        (nanoseconds since the epoch), oldest first."""
        found: dict[str, int] = {}
        for entry in os.scandir(self.data):
            match = _SPOOL.match(entry.name)
            state = state_of(entry) if match else None
            if match and state:
                found[match[1]] = max(found.get(match[1], 0), state.st_mtime_ns)
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def remove_spool(self, crash_id: str) -> None:
        """Remove the collector's files; absent ones are passed over."""
        self._unlink(f"{crash_id}.report")
        self._unlink(f"{crash_id}.mini")

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

    def renew(self, crash_id: str, number: int, text: bytes, json: bytes) -> bool:
        """Put better text and JSON in the place of those of a report that was published in this
        slot; False if the slot has another report by now, or where there is no room for them."""
        token = os.urandom(4).hex()
        part, json_part = f"{crash_id}.{token}.part", f"{crash_id}.json.{token}.part"
        body = text + (b"" if text.endswith(b"\n") else b"\n")
        try:
            self._write_new(json_part, json)
            self._write_new(part, body + f"report-id: {crash_id}\n".encode())
            with self.lock():
                name = slot_name(number)
                if self._id_in(name) != crash_id:
                    return False
                status = os.stat(name, dir_fd=self.dir, follow_symlinks=False)
                times = (status.st_atime_ns, status.st_mtime_ns)  # it is not a newer report
                os.utime(part, ns=times, dir_fd=self.data, follow_symlinks=False)
                os.rename(json_part, f"{crash_id}.json", src_dir_fd=self.data, dst_dir_fd=self.data)
                os.rename(part, name, src_dir_fd=self.data, dst_dir_fd=self.dir)
                self._sync(self.dir)
            return True
        except (OSError, UsercrashError):
            return False  # the one that was published is right, too
        finally:
            self._unlink(part)
            self._unlink(json_part)

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

    def forget_claim(self, key: bytes) -> None:
        """Remove the claim of a crash that nobody else can come to publish any more."""
        self._unlink(f"{CLAIMS}/{key.hex()}")

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
                if (state := state_of(entry)) and now - state.st_mtime > ORPHAN_SECONDS:
                    self._unlink(entry.name)
            claims = os.open(CLAIMS, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.data)
            try:
                for entry in os.scandir(claims):
                    if (state := state_of(entry)) and now - state.st_mtime > CLAIM_SECONDS:
                        self._unlink(f"{CLAIMS}/{entry.name}")
            finally:
                os.close(claims)

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


def _not_kept(suffix: str, error: OSError) -> bytes:
    return f"note: store: {suffix} was not kept: {error.strerror}\n".encode()
