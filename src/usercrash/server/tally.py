"""What the server has done since it started, in numbers."""

from __future__ import annotations

import os
import time
from collections import Counter, OrderedDict, deque

from .. import __version__, server_state
from ..storage.events import DUPLICATE, FACTS_ONLY, INCOMPLETE, LOST, PUBLISHED

# The kernel's word that a crash was not delivered, and our own that it was announced, are of
# one crash if they lie no farther apart; a pid is not used again so soon.
SAME_NS = 10 * 1_000_000_000
_RECENT = 4096  # pids that are remembered


class Tally:
    """Counts; the processes announced lately; the last holds."""

    def __init__(self) -> None:
        self._since_ns = time.time_ns()
        self._announced = 0
        self._outcomes: Counter[str] = Counter()
        self._missed = 0
        self._recent: OrderedDict[int, int] = OrderedDict()
        self._holds: deque[server_state.Hold] = deque(maxlen=server_state.MAX_HOLDS)

    def announced(self, pid: int = 0, time_ns: int = 0) -> None:
        """A crash has begun to be collected; `time_ns` (since the epoch) 0 for just now."""
        self._announced += 1
        if pid:
            self._recent[pid] = time_ns or time.time_ns()
            self._recent.move_to_end(pid)
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)

    def knows(self, pid: int, time_ns: int) -> bool:
        """Whether this process was announced at about that time."""
        announced = self._recent.get(pid)
        return announced is not None and abs(announced - time_ns) <= SAME_NS

    def held(self, pid: int, name: bytes, source: str, hold_ns: int) -> None:
        """A process was let go; `source` as in CrashEvent."""
        shown = name[: server_state.MAX_NAME].decode("utf-8", "backslashreplace")
        hold = server_state.Hold(
            time_ns=time.time_ns(), pid=pid, name=shown, source=source, hold_ns=hold_ns
        )
        self._holds.appendleft(hold)

    def closed(self, outcome: str) -> None:
        """A crash came to its end, in one of the event log's outcomes."""
        self._outcomes[outcome] += 1

    def missed(self, count: int) -> None:
        """So many crashes were never delivered."""
        self._missed += count

    def state(
        self,
        *,
        listening: bool,
        workers: server_state.Workers,
        queue: server_state.Queue,
        watching: bool,
        overwritten: int = 0,
    ) -> server_state.State:
        """The server's state: `listening` on the kernel's socket, `watching` the kernel's log, of
        which so many records were `overwritten` unread."""
        outcomes = self._outcomes
        return server_state.State(
            pid=os.getpid(),
            since_ns=self._since_ns,
            version=__version__,
            listening=listening,
            workers=workers,
            queue=queue,
            counts=server_state.Counts(
                announced=self._announced,
                complete=outcomes[PUBLISHED],
                incomplete=outcomes[INCOMPLETE],
                facts_only=outcomes[FACTS_ONLY],
                lost=outcomes[LOST],
                duplicate=outcomes[DUPLICATE],
                missed=self._missed if watching else None,
                overwritten=overwritten,
            ),
            holds=list(self._holds),
        )
