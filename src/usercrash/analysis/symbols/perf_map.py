"""Names of code that was made at run time: the maps that just-in-time compilers leave for perf.

/tmp/perf-PID.map has a line `START SIZE NAME` for each function, both numbers hexadecimal
(tools/perf/Documentation/jit-interface.txt in Linux). It is read by the analysis, which has no
privileges, and only where it can be this process's own: a regular file of the process's user,
written while it lived, by a process of our own pid namespace in this boot of the machine. Of one
with another /tmp (a container) the capture has it, under the rules of capture/perf_map.py.
"""

from __future__ import annotations

import os
import stat
import time
from bisect import bisect_right
from collections.abc import Mapping

from ...model.event import CrashEvent
from ..core.opening import open_entry
from ..facts.proc_texts import parse_status

_FACT = b"@perf_map"
_MAX_BYTES = 16 << 20
_MAX_LINES = 400_000
_SLACK = 2.0  # seconds by which clocks may differ
_AFTER = 30.0  # seconds after the crash's time in which it may still have been written
_MAX_NAME = 4096


class PerfMap:
    """The functions of a map, by address."""

    def __init__(self, data: bytes = b"") -> None:
        """Lines that are none are passed over; of two functions at one address the later holds."""
        rows: dict[int, tuple[int, bytes]] = {}
        for line in data.split(b"\n", _MAX_LINES)[:_MAX_LINES]:
            words = line.split(b" ", 2)
            try:
                start, size = int(words[0], 16), int(words[1], 16)
            except (ValueError, IndexError):
                continue
            if len(words) == 3 and 0 <= start < 1 << 64 and 0 < size < 1 << 32:
                rows[start] = size, words[2][:_MAX_NAME]
        self._starts = sorted(rows)
        self._rows = rows

    def find(self, address: int) -> tuple[str, int] | None:
        """(name, its first address) of the function that holds an address."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        start = self._starts[at]
        size, name = self._rows[start]
        return (name.decode("utf-8", "backslashreplace"), start) if address < start + size else None


def read_perf_map(
    event: CrashEvent | None, facts: Mapping[bytes, bytes], directory: str = "/tmp"
) -> PerfMap:
    """The process's map; an empty one where there is none, or none that is surely its own."""
    kept = facts.get(_FACT, b"")
    if kept:
        return PerfMap(kept[:_MAX_BYTES])
    if event is None or event.pid <= 0 or event.boot_id.strip() != _boot_id():
        return PerfMap()
    if facts.get(b"ns/pid") != _link("/proc/self/ns/pid"):
        return PerfMap()  # it has another number where it is
    uids = parse_status(facts.get(b"status", b"")).get(b"Uid", b"").split()
    if not uids:
        return PerfMap()
    try:
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_entry(place, b"perf-%d.map" % event.pid)
        finally:
            os.close(place)
    except OSError:
        return PerfMap()  # no such file, as it is nearly always
    if fd < 0:
        return PerfMap()
    try:
        status = os.fstat(fd)
        theirs = b"%d" % status.st_uid in uids[:2]  # the real or the effective user
        if stat.S_ISREG(status.st_mode) and theirs and _lived(event, status.st_mtime):
            return PerfMap(_read(fd))
    except OSError:
        pass  # a disk that does not answer: then without these names
    finally:
        os.close(fd)
    return PerfMap()


def _read(fd: int) -> bytes:
    data = bytearray()
    while len(data) < _MAX_BYTES:
        piece = os.read(fd, 1 << 20)
        if not piece:
            break
        data += piece
    return bytes(data)


def _lived(event: CrashEvent, when: float) -> bool:
    """Whether the process lived at a time (seconds since the epoch)."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    began = booted + event.start_ticks / os.sysconf("SC_CLK_TCK")
    return bool(event.start_ticks) and began - _SLACK <= when <= event.time_ns / 1e9 + _AFTER


def _boot_id() -> bytes:
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read(64).strip()
    except OSError:
        return b"-"


def _link(path: str) -> bytes:
    try:
        return os.fsencode(os.readlink(path))
    except OSError:
        return b"-"
