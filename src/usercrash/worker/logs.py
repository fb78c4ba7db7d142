"""The last log lines about a process, for a worker that sees many: what it has read stays read."""

from __future__ import annotations

import os
from collections import OrderedDict, deque

from ..capture.log_tail import (
    CODE_LINE,
    KERNEL_FACT,
    LINES,
    add_journal,
    has_journal,
    log_clock_us,
    parse_record,
    shown,
    snapshot_age,
    subject,
)
from ..capture.procfs import reason
from ..model.snapshot import Snapshot

_KMSG = "/dev/kmsg"
_RECORD = 8192
_MAX_PROCESSES = 1000  # of which lines are kept
_JOURNALCTL = b"journalctl\n"


Line = tuple[int, bytes]  # microseconds since boot, and as it stands in reports


class Logs:
    """Follows the kernel's log from one crash to the next."""

    def __init__(self) -> None:
        self._fd = -1
        self._why = ""
        self._lines: OrderedDict[int, deque[Line]] = OrderedDict()  # by process or thread id
        self._last = 0  # whom the last record named
        try:
            self._fd = os.open(_KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._read()
        except OSError as error:
            self._why = reason(error)

    def add_tail(self, snapshot: Snapshot, *, journal: bool) -> None:
        """Add the tails to the snapshot's facts; what cannot be had is a note."""
        event = snapshot.event
        if self._fd < 0:
            snapshot.notes.add("log", "the kernel's log", self._why)
        else:
            try:
                self._read()
            except OSError as error:
                snapshot.notes.add("log", "the kernel's log", reason(error))
            since_us = log_clock_us() - snapshot_age(snapshot)
            lines = {
                line
                for number in {event.pid, event.tid}
                for line in self._lines.get(number, ())
                if line[0] >= since_us
            }
            if lines:
                last = sorted(lines, key=lambda line: line[0])[-LINES:]
                snapshot.facts[KERNEL_FACT] = b"\n".join(text for _, text in last)
        # A journalctl that crashes whenever it is asked must not be asked about itself.
        if snapshot.facts.get(b"comm") == _JOURNALCTL:
            return
        if journal:
            add_journal(snapshot)
        elif has_journal():
            snapshot.notes.add("log", "the journal", "not asked while other crashes waited")

    def _read(self) -> None:
        """Take the records that are new."""
        while True:
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # the next one was overwritten: go on with what follows
            self._keep(*parse_record(record))

    def _keep(self, time_us: int, message: bytes) -> None:
        """Keep a line that names a process; one of code bytes belongs to the one before it."""
        number = subject(message)
        if not number and message.startswith(CODE_LINE):
            number = self._last
        self._last = number
        if number:
            line = (time_us, shown(time_us, message))
            self._lines.setdefault(number, deque(maxlen=LINES)).append(line)
            self._lines.move_to_end(number)
            if len(self._lines) > _MAX_PROCESSES:
                self._lines.popitem(last=False)
