"""The event log: one line when a crash is announced, one when it is closed.

`STATE/events.jsonl`, append-only, one JSON object a line (docs/formats.md). A crash
that is announced and never closed was interrupted: the next start of the server
finds it here. Writers append with one write(2) to an O_APPEND descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..model.event import CrashEvent

NAME = "events.jsonl"
MAX_BYTES = 8 << 20  # then it becomes events.jsonl.1, and the older one goes
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# How a crash was closed.
PUBLISHED = "published"  # a complete report stands in a slot
INCOMPLETE = "incomplete"  # a report that says what was known stands in a slot
LOST = "lost"  # no report could be written; `why` says why
FACTS_ONLY = "facts-only"  # the queue was full: this line is all that is kept of it
DUPLICATE = "duplicate"  # another collector had published it already


class Pending(NamedTuple):
    """A crash that was announced and not closed."""

    id: str
    key: bytes
    event: CrashEvent


class EventLog:
    """Appends to and reads the event log in the directory `state` (made with mode 0700).

    Nothing here raises OSError: a crash matters more than its line in the log. `say` hears
    of it.
    """

    def __init__(self, state: str, say: Callable[[str], None]) -> None:
        self.path = os.path.join(state, NAME)
        self._say = say
        try:
            os.makedirs(state, mode=0o700, exist_ok=True)
        except OSError as error:
            say(f"event log in {state}: {error.strerror}")

    def announced(self, crash_id: str, key: bytes, event: CrashEvent) -> None:
        """A crash has begun to be collected."""
        fields = {
            name.decode(): value.decode("utf-8", "backslashreplace")
            for name, value in event.to_fields().items()
        }
        self._append({"what": "announced", "id": crash_id, "key": key.hex(), **fields})

    def closed(
        self,
        crash_id: str,
        outcome: str,
        slot: int | None = None,
        why: str = "",
        *,
        comm: bytes = b"",
        exe: bytes = b"",
        uid: int = -1,
        signal: int = 0,
    ) -> None:
        """A crash has come to its end. Who it was is told where no report tells it."""
        line: dict[str, object] = {"what": "closed", "id": crash_id, "outcome": outcome}
        if slot is not None:
            line["slot"] = slot
        if why:
            line["why"] = why
        for name, value in (("comm", comm), ("exe", exe)):
            if value:
                line[name] = value.decode("utf-8", "backslashreplace")
        if uid >= 0:
            line["uid"] = uid
        if signal:
            line["signal"] = signal
        self._append(line)

    def missed(
        self,
        pid: int,
        comm: bytes,
        why: str,
        *,
        time_ns: int,
        count: int = 1,
        boot_id: str = "",
        seq: int = -1,
    ) -> None:
        """`count` crashes never came here: the kernel's log says so in its record `seq`.

        `pid` (in the process's own namespace) is 0 and `comm` empty where that does not say whose.
        """
        line: dict[str, object] = {
            "what": "missed", "pid": str(pid), "comm": comm.decode("utf-8", "backslashreplace"),
            "why": why, "time_ns": str(time_ns), "count": count, "boot_id": boot_id, "seq": seq,
        }  # fmt: skip
        self._append(line)

    def missed_until(self, boot_id: str) -> int:
        """The last record of this boot's kernel log that has a line of `missed`; -1 for none."""
        found = -1
        for line in self.lines():
            seq = line.get("seq")
            if line.get("what") == "missed" and line.get("boot_id") == boot_id:
                found = max(found, seq if isinstance(seq, int) else -1)
        return found

    def _append(self, line: dict[str, object]) -> None:
        data = json.dumps({"at": time.time_ns(), **line}).encode() + b"\n"
        try:
            fd = os.open(self.path, _APPEND, 0o600)
            try:
                self._write(fd, data)
            finally:
                os.close(fd)
        except OSError as error:
            self._say(f"event log {self.path}: {error.strerror}")

    def _write(self, fd: int, data: bytes) -> None:
        state = os.fstat(fd)
        _refuse_special(state)
        if state.st_size > MAX_BYTES:
            self._rotate(fd)
        # A line that was cut short by a full disk must not swallow this one.
        if state.st_size and os.pread(fd, 1, state.st_size - 1) != b"\n":
            data = b"\n" + data
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _rotate(self, fd: int) -> None:
        """One of those who find it too long moves it away, and nobody moves a new one."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.lstat(self.path)):
                os.replace(self.path, self.path + ".1")
        except (BlockingIOError, FileNotFoundError):
            return  # another one is at it

    def lines(self) -> Iterator[dict[str, object]]:
        """All whole lines, the older file's first; what is no JSON object is passed over."""
        return self._lines()

    def _lines(self, containing: bytes = b"") -> Iterator[dict[str, object]]:
        for path in (self.path + ".1", self.path):
            try:
                yield from _objects(path, containing)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._say(f"event log {path}: {error.strerror}")

    def is_open(self, crash_id: str) -> bool:
        """Whether the crash was announced here and nobody has closed it."""
        lines = self._lines(containing=crash_id.encode())
        return any(pending.id == crash_id for pending in _pending(lines))

    def pending(self) -> list[Pending]:
        """The crashes that were announced and not closed, in their order."""
        return _pending(self._lines())


def _pending(lines: Iterable[dict[str, object]]) -> list[Pending]:
    waiting: dict[str, Pending] = {}
    for line in lines:
        crash_id = str(line.get("id", ""))
        if line.get("what") == "announced":
            fields = {
                name.encode(): str(value).encode()
                for name, value in line.items()
                if isinstance(value, str)
            }
            try:
                key = bytes.fromhex(str(line.get("key", "")))
            except ValueError:
                continue
            waiting[crash_id] = Pending(crash_id, key, CrashEvent.from_fields(fields))
        elif line.get("what") == "closed":
            waiting.pop(crash_id, None)
    return list(waiting.values())


def _refuse_special(state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


def _objects(path: str, containing: bytes) -> Iterator[dict[str, object]]:
    with open(os.open(path, _READ), "rb") as file:
        _refuse_special(os.fstat(file.fileno()))
        for raw in file:
            if containing not in raw:
                continue  # most of them, and to look is a hundred times quicker than to parse
            try:
                line = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict):
                yield line
