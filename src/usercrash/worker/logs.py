"""The last log lines about a process, for a worker that sees many: what it has read stays read."""

from __future__ import annotations

import os
from collections import deque

from ..capture.log_tail import KERNEL_FACT, add_journal, has_journal, kernel_lines
from ..capture.procfs import reason
from ..model.snapshot import Snapshot

_KMSG = "/dev/kmsg"
_RECORD = 8192
_KEPT = 4000  # records that name a process
_JOURNALCTL = b"journalctl\n"


class Logs:
    """Follows the kernel's log from one crash to the next."""

    def __init__(self) -> None:
        self._fd = -1
        self._why = ""
        self._records: deque[bytes] = deque(maxlen=_KEPT)
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
            self._read()
            lines = kernel_lines(self._records, {event.pid, event.tid})
            if lines:
                snapshot.facts[KERNEL_FACT] = b"\n".join(lines)
        # A journalctl that crashes whenever it is asked must not be asked about itself.
        if snapshot.facts.get(b"comm") == _JOURNALCTL:
            return
        if journal:
            add_journal(snapshot)
        elif has_journal():
            snapshot.notes.add("log", "the journal", "not asked while other crashes waited")

    def _read(self) -> None:
        """Take the records that are new; those that name no process are of no use."""
        while True:
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # the next one was overwritten: go on with what follows
            if b"]: " in record or b";Code: " in record:
                self._records.append(record)
