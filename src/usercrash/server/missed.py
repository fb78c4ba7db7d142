"""Counts the crashes that never reached us."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable

from ..storage.events import EventLog
from .kernel_log import KernelLog
from .tally import Tally

# The kernel's log is read so long after it was written to: the server wakes up at most once in
# that time, and a client whose process was killed meanwhile has announced it.
DELAY_SECONDS = 1.0


def count_missed(kernel_log: KernelLog, tally: Tally, log: EventLog) -> bool:
    """Read the kernel's log, and count and record what is new in it.

    True if among it is a crash for which the kernel found no server."""
    unreachable = False
    found = kernel_log.read()
    if found and kernel_log.counted_until is None:
        # The one before us may have been killed before it kept its place.
        recorded = log.missed_until(kernel_log.boot_id) if kernel_log.resumed else -1
        kernel_log.counted_until = recorded
    for one in found:
        if kernel_log.counted_until is not None and one.seq <= kernel_log.counted_until:
            continue
        if one.pid and tally.knows(one.pid, one.time_ns):
            continue  # the kernel gave up on a client that had begun, and did its work
        unreachable = unreachable or one.unreachable
        tally.missed(one.crashes)
        log.missed(
            one.pid, one.comm, one.why,
            time_ns=one.time_ns, count=one.crashes, boot_id=kernel_log.boot_id, seq=one.seq,
        )  # fmt: skip
    kernel_log.keep_place()
    return unreachable


class MissedCrashes:
    """`count_missed`, whenever the kernel has written something. For the server's loop."""

    def __init__(
        self,
        state: str,
        selector: selectors.BaseSelector,
        tally: Tally,
        log: EventLog,
        say: Callable[[str], None],
        unreachable: Callable[[], None] = lambda: None,
    ) -> None:
        """`unreachable` is called when the kernel could not connect to a server's socket."""
        self._unreachable = unreachable
        self._kernel_log = KernelLog(state, say)
        self._selector = selector
        self._tally = tally
        self._log = log
        self._due: float | None = None
        if self._kernel_log.fileno() >= 0:
            self._due = time.monotonic() + DELAY_SECONDS  # what came since the last server

    @property
    def watching(self) -> bool:
        """Whether there is a log to read."""
        return self._kernel_log.fileno() >= 0

    @property
    def overwritten(self) -> int:
        """Records of the kernel's log that were gone before they could be read."""
        return self._kernel_log.overwritten

    def next_due(self) -> float | None:
        """Monotonic seconds of when `act` has something to do; None if nothing is due."""
        return self._due

    def act(self, now: float) -> None:
        """Read, when it is due, and watch again."""
        if self._due is None or now < self._due:
            return
        self._due = None
        if count_missed(self._kernel_log, self._tally, self._log):
            self._unreachable()
        if self.watching:
            self._selector.register(self._kernel_log, selectors.EVENT_READ, self._readable)

    def _readable(self) -> None:
        self._selector.unregister(self._kernel_log)
        self._due = time.monotonic() + DELAY_SECONDS

    def close(self) -> None:
        """Count what is there now, and watch no longer."""
        if not self.watching:
            return
        if self._due is None:
            self._selector.unregister(self._kernel_log)
        self._due = None
        count_missed(self._kernel_log, self._tally, self._log)
        self._kernel_log.close()
