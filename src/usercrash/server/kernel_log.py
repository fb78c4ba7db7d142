"""Crashes that the kernel could not deliver, found in its log (/dev/kmsg).

Only what the kernel itself wrote counts (facility 0, which the kernel lets nobody else use), and
only lines that say that no collector was reached. "Coredump socket failed" is none of those: it
ends the hold of a process whose collector had answered, and so had announced it before
(coredump_sock_wait in fs/coredump.c: a worker that closes with unread data, or SIGKILL).

The kernel limits such lines to ten in five seconds for each kind (Linux 6.12), and tells how many
it left out when the next one of the kind comes. A connection that is lost with
the server's listening socket is not told at all.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

DEVICE = "/dev/kmsg"
PLACE = "kernel_log"  # in the state directory: boot id and the next sequence number
BOOT_ID = "/proc/sys/kernel/random/boot_id"

_RECORD = 8192  # CONSOLE_EXT_LOG_MAX; since Linux 6.3 PRINTK_MESSAGE_MAX, which is less
_MAX_RECORDS = 20_000  # in one go: the server has other things to do

# Documentation/ABI/testing/dev-kmsg: priority and facility, sequence, microseconds, flags …
_PREFIX = re.compile(rb"(\d+),(\d+),(\d+),[^;]*;([^\n]*)")
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_SUPPRESSED = re.compile(
    # The functions of fs/coredump.c with lines that are counted here; coredump_sock_wait is not.
    rb"(coredump_sock_connect|coredump_pipe|vfs_coredump|do_coredump): (\d+) callbacks suppressed\Z"
)


_NO_CONNECTION = "the kernel could not connect to "


class Missed(NamedTuple):
    """Crashes that did not reach us, usually one.

    `pid` is the one in the process's own pid namespace, 0 if the line does not tell; `comm` as
    the kernel shows it (not printable: escaped); `seq` is the record of the kernel's log.
    """

    time_ns: int
    pid: int
    comm: bytes
    why: str
    crashes: int
    seq: int

    @property
    def unreachable(self) -> bool:
        """Whether the kernel could not connect to the server's socket."""
        return self.why.startswith(_NO_CONNECTION)


def _no_connection(words: re.Match[bytes]) -> str:
    reason = os.strerror(int(words["number"][:6]))
    return f"{_NO_CONNECTION}{_shown(words['path'])}: {reason}"


def _queue_full(words: re.Match[bytes]) -> str:
    return f"too many crashes waited at {_shown(words['path'])}"


def _not_started(words: re.Match[bytes]) -> str:
    return f"the kernel could not start {_shown(words['path'])}"


def _disabled(words: re.Match[bytes]) -> str:
    return f"the kernel starts no programs, so not {_shown(words['path'])}"


def _over_limit(words: re.Match[bytes]) -> str:
    return "kernel.core_pipe_limit was reached"


def _collector(words: re.Match[bytes]) -> str:
    return "its RLIMIT_CORE was 1, which is a collector's mark"


def _no_memory(words: re.Match[bytes]) -> str:
    return "the kernel had no memory for it"


def _bad_pattern(words: re.Match[bytes]) -> str:
    return "the kernel could not make sense of core_pattern"


_WHO = rb"(?P<pid>\d+)\((?P<comm>.*)\)"
# The whole message, because a comm may hold any text: what stands after it decides.
_LINES: tuple[tuple[re.Pattern[bytes], Callable[[re.Match[bytes]], str]], ...] = tuple(
    (re.compile(pattern.replace(b"WHO", _WHO) + rb"\Z", re.DOTALL), why)
    for pattern, why in (
        # Since Linux 6.12; those of the socket since 6.16.
        (rb"coredump: WHO: Coredump socket connection (?P<path>\S+) failed -(?P<number>\d+)",
         _no_connection),
        (rb"coredump: WHO: Coredump socket (?P<path>\S+) receive queue full", _queue_full),
        (rb"coredump: WHO: \|(?P<path>.*) pipe failed", _not_started),
        (rb"coredump: WHO: Core dump to \|(?P<path>.*) disabled", _disabled),
        (rb"coredump: WHO: over core_pipe_limit, skipping core dump", _over_limit),
        (rb"coredump: WHO: RLIMIT_CORE is set to 1, aborting core", _collector),
        (rb"coredump: WHO: \w+ failed to allocate memory", _no_memory),
        (rb"coredump: WHO: format_corename failed, aborting core", _bad_pattern),
        # Before.
        (rb"Pid WHO over core_pipe_limit", _over_limit),
        (rb"Process WHO has RLIMIT_CORE set to 1", _collector),
        (rb"Core dump to \|(?P<path>.*) pipe failed", _not_started),
        (rb"Core dump to \|(?P<path>.*) disabled", _disabled),
        (rb"do_coredump failed to allocate memory", _no_memory),
        (rb"format_corename failed", _bad_pattern),
    )
)  # fmt: skip


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def missed_in(message: bytes, time_ns: int = 0, seq: int = 0) -> Missed | None:
    """What a message of the kernel tells of crashes that did not arrive; None for nothing."""
    text = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), message)
    if words := _SUPPRESSED.match(text):
        why = "the kernel told only their number"
        return Missed(time_ns, 0, b"", why, int(words[2][:9]), seq)
    for pattern, why_of in _LINES:
        if words := pattern.match(text):
            who = words.groupdict()
            pid = int(who.get("pid", b"0")[:10])
            return Missed(time_ns, pid, who.get("comm", b""), why_of(words), 1, seq)
    return None


class KernelLog:
    """Reads the kernel's log from where the last reader with this state directory stopped.

    The first one ever begins at the present end. `say` hears, once, why there is no log, and
    of each gap. Nothing here raises OSError. `boot_id` names the boot that the numbers belong to.
    """

    def __init__(self, state: str, say: Callable[[str], None], device: str = DEVICE) -> None:
        self._say = say
        self._path = os.path.join(state, PLACE)
        self._fd = -1
        self._next = -1  # the first sequence number that is not read; -1: whichever comes
        self._kept = -1
        self.overwritten = 0  # records that nobody will read
        self.resumed = False  # whether there was a reader before
        self.counted_until: int | None = None  # for count_missed: what that one has recorded
        self.boot_id = ""
        try:
            with open(BOOT_ID, encoding="ascii") as file:
                self.boot_id = file.read().strip()
            self._fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            why = f"{device}: {error.strerror}"
            say(f"crashes that the kernel cannot deliver are not counted: {why}")
            return
        self._resume()

    def fileno(self) -> int:
        """The descriptor that is readable when the kernel has written; -1 without a log."""
        return self._fd

    def read(self) -> list[Missed]:
        """What came since the last call. `keep_place` afterwards, when it is counted."""
        found = []
        for seq, ticks, message in self._records():
            if one := missed_in(message, _wall_time(ticks), seq):
                found.append(one)
        return found

    def keep_place(self) -> None:
        """Let the next reader begin behind what was read."""
        if self._fd < 0 or self._next == self._kept:
            return
        part = f"{self._path}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(part, flags, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(f"{self.boot_id} {self._next}\n")
            os.replace(part, self._path)
            self._kept = self._next
        except OSError as error:  # the next start reads some of it again
            self._say(f"{self._path}: {error.strerror}")

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _resume(self) -> None:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                boot_id, number = file.read(128).split()
            here = boot_id.decode() == self.boot_id
            # Of an earlier boot: all that this one has written is new.
            self._next = int(number) * here
            self.resumed = True
        except (OSError, ValueError):
            while sum(1 for _ in self._records()):
                continue
            self.keep_place()

    def _records(self) -> Iterator[tuple[int, int, bytes]]:
        """Sequence number, microseconds since boot and message of the kernel's own records."""
        for _ in range(_MAX_RECORDS):
            if self._fd < 0:
                return
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.EINVAL):
                    continue  # what was to be read is overwritten, or longer than any can be
                self._say(f"the kernel's log cannot be read any longer: {error.strerror}")
                self.close()
                return
            prefix = _PREFIX.match(record)
            if not prefix:
                continue
            priority, seq, ticks = (int(prefix[group]) for group in (1, 2, 3))
            if seq < self._next:
                continue
            if 0 <= self._next < seq:
                self._gap(seq - self._next)
            self._next = seq + 1
            if priority >> 3 == 0:
                yield seq, ticks, prefix[4]

    def _gap(self, records: int) -> None:
        self.overwritten += records
        self._say(
            f"{records} records of the kernel's log were overwritten before they were read: "
            "crashes that it could not deliver may be missing from the count"
        )


def _wall_time(ticks: int) -> int:
    """Nanoseconds since the epoch of a record's microseconds.

    The kernel stamps records with a clock that nobody adjusts, so the distance is taken by one.
    """
    age = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - ticks * 1000
    return time.time_ns() - max(0, age)
