"""What a program wrote to standard error last: the end of the file, where that is one, or what went
through a relay of `usercrash run --keep-stderr`.

The relay is a process of its own in a session of its own: it reads what the program writes into a
pipe, keeps the end of it in memory that the watcher shares, and passes it on. It ends when nobody
has the pipe's other end any more.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import stat
import struct
import termios
import time

from ..capture.filesystems import FileSystems
from ..capture.log_tail import LINES, STDERR_FACT
from ..capture.procfs import read_at
from ..descriptors import write_all
from ..model.snapshot import Snapshot

MAX_BYTES = 16 << 10  # of a report
_KEPT = 64 << 10  # of what went through
_COUNTS = struct.Struct("<QQ")  # bytes that were read, bytes that were passed on
_DRAIN_SECONDS = 0.2  # how long what was written is waited for
_END_SECONDS = 2.0
_STEP = 0.001


class Relay:
    """The pipe that stands for the program's standard error. To be made before all processes that
    are to share it; `start` forks the one that reads."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _COUNTS.size + _KEPT)
        self.reader, self.writer = os.pipe()
        self.inode = os.fstat(self.reader).st_ino
        self.process = 0

    def start(self) -> None:
        """Fork the process that reads, and passes on to standard error."""
        self.process = os.fork()
        if self.process == 0:
            try:
                self._pass_on()
            finally:
                os._exit(0)

    def _pass_on(self) -> None:
        os.setsid()  # no key of the terminal ends it before the program has
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.close(self.writer)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        listened = True
        passed = 0
        while data := os.read(self.reader, _KEPT):
            self._keep(passed, data)
            try:
                if listened:
                    write_all(2, data)
            except OSError:
                listened = False  # nobody reads us any more: that must not end the program
            passed += len(data)
            _COUNTS.pack_into(self._memory, 0, passed, passed)

    def _keep(self, before: int, data: bytes) -> None:
        """The ring has byte N of all at N modulo its size."""
        at = _COUNTS.size + before % _KEPT
        first = data[: _COUNTS.size + _KEPT - at]
        self._memory[at : at + len(first)] = first
        rest = data[len(first) :]
        self._memory[_COUNTS.size : _COUNTS.size + len(rest)] = rest
        _COUNTS.pack_into(self._memory, 0, before + len(data), before)

    def tail(self) -> bytes:
        """What went through last."""
        total, _ = _COUNTS.unpack_from(self._memory)
        data = self._memory[_COUNTS.size :]
        if total <= _KEPT:
            return data[:total]
        at = total % _KEPT
        return data[at:] + data[:at]

    def drained(self, fd: int) -> bool:
        """Whether all that was written into the pipe, `fd` being one of its ends, was passed on."""
        read, passed = _COUNTS.unpack_from(self._memory)
        return _waiting(fd) == 0 and bool(read == passed)

    def finish(self) -> None:
        """Wait until what the program wrote is passed on; its children may write on."""
        deadline = time.monotonic() + _END_SECONDS
        while not self.drained(self.reader) and time.monotonic() < deadline:
            time.sleep(_STEP)


def _waiting(fd: int) -> int:
    """The bytes in a pipe (pipe(7): FIONREAD)."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), "little")


class HeldStderr:
    """What descriptor 2 of a held process is; to be opened while it is held, and read when it
    has been let go. Nothing is asked of a file system that may not answer."""

    def __init__(self, proc: int) -> None:
        """`proc` is a descriptor of its directory in /proc."""
        self._position = -1
        try:
            self._fd = os.open(b"fd/2", os.O_PATH | os.O_CLOEXEC, dir_fd=proc)
        except OSError:
            self._fd = -1  # it has none
            return
        if FileSystems(proc).opens_mount_of(self._fd):
            words = read_at(proc, b"fdinfo/2").split(b"pos:", 1)[-1].split()
            self._position = int(words[0]) if words and words[0].isdigit() else -1

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def add_to(self, snapshot: Snapshot, relay: Relay | None) -> None:
        """Add the last lines to the facts; OSError where the file cannot be read."""
        data = self._tail(relay) if self._fd >= 0 else b""
        lines = data[-MAX_BYTES:].rstrip(b"\n").split(b"\n")
        if len(data) > MAX_BYTES:
            del lines[0]  # its beginning is cut off
        if text := b"\n".join(lines[-LINES:]):
            snapshot.facts[STDERR_FACT] = text

    def _tail(self, relay: Relay | None) -> bytes:
        status = os.fstat(self._fd)
        if relay is not None and status.st_ino == relay.inode and stat.S_ISFIFO(status.st_mode):
            self._let_drain(relay)
            return relay.tail()
        if not stat.S_ISREG(status.st_mode) or self._position <= 0:
            return b""
        file = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            start = max(0, self._position - MAX_BYTES - 1)
            return os.pread(file, self._position - start, start)
        finally:
            os.close(file)

    def _let_drain(self, relay: Relay) -> None:
        pipe = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            deadline = time.monotonic() + _DRAIN_SECONDS
            while not relay.drained(pipe) and time.monotonic() < deadline:
                time.sleep(_STEP)
        finally:
            os.close(pipe)
