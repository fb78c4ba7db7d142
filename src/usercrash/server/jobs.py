"""The server's bounded pool: completes crashes in their order, a few at a time.

A job is a child of the server that runs `pipeline.complete` for one crash: it forks the
unprivileged analysis, publishes, closes the event. The server itself never waits for a disk
or an analysis. A job that dies or hangs is repeated once without analysis.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable

from ..analysis.sandbox import close_all_but
from ..config import Config
from ..pipeline import Crash, complete
from ..protocol import close_all
from ..storage.events import LOST, EventLog
from ..storage.store import Store

PUBLISH_SECONDS = 20.0  # beside the analysis: writing, locks, SymCaches


class Job:
    """A crash in the pool. `deadline` is monotonic seconds, 0 while it waits."""

    __slots__ = ("crash", "analyse", "pid", "deadline")

    def __init__(self, crash: Crash, analyse: bool) -> None:
        self.crash = crash
        self.analyse = analyse
        self.pid = 0
        self.deadline = 0.0


class Pool:
    """Runs jobs in the order of `submit`, at most `workers` at once."""

    def __init__(
        self, config: Config, store: Store, log: EventLog, say: Callable[[str], None]
    ) -> None:
        self._config = config
        self._store = store
        self._log = log
        self._say = say
        self._workers = config.analysis.workers or len(os.sched_getaffinity(0))
        self._waiting: deque[Job] = deque()
        self._running: dict[int, Job] = {}

    def submit(self, crash: Crash, *, analyse: bool = True) -> None:
        """Take the crash over, with its descriptors."""
        self._waiting.append(Job(crash, analyse))
        self._start_waiting()

    @property
    def waiting(self) -> int:
        """How many crashes wait for their analysis."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many are being analysed."""
        return len(self._running)

    def full(self) -> bool:
        """Whether of a further crash only the facts are to be kept."""
        return len(self._waiting) >= self._config.queue.crashes

    def known(self) -> set[str]:
        """The ids of all crashes that wait or run."""
        return {job.crash.id for job in (*self._waiting, *self._running.values())}

    def _start_waiting(self) -> None:
        while self._waiting and len(self._running) < self._workers:
            job = self._waiting.popleft()
            try:
                job.pid = os.fork()
            except OSError as error:  # out of processes or memory: later, when one has ended
                self._waiting.appendleft(job)
                self._say(f"cannot start an analysis: {error.strerror}")
                return
            if job.pid == 0:
                self._child(job)
            # Two attempts at the analysis, and what comes after.
            patience = 2 * self._config.analysis.seconds + PUBLISH_SECONDS
            job.deadline = time.monotonic() + patience
            self._running[job.pid] = job

    def _child(self, job: Job) -> None:
        """Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            crash = job.crash
            close_all_but({crash.report, crash.core, *crash.files, *self._store.descriptors()})
            complete(self._config, self._store, self._log, crash, analyse=job.analyse)
            code = 0
        except BaseException as error:  # the parent repeats it, or counts it as lost
            self._say(f"crash {job.crash.id}: {error!r}")
        finally:
            os._exit(code)

    def reap(self) -> None:
        """Take note of jobs that have ended; start those that wait."""
        for pid, job in list(self._running.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self._running[pid]
                self._ended(job, status)
        self._start_waiting()

    def _ended(self, job: Job, status: int) -> None:
        crash = job.crash
        if status != 0 and job.analyse:
            self._say(f"crash {crash.id}: completing it failed (wait status {status}), once more")
            self.submit(crash, analyse=False)
            return
        close_all(fd for fd in (crash.report, crash.core, *crash.files) if fd >= 0)
        if status != 0:
            self._say(f"crash {crash.id} is lost: it could not be published")
            self._log.closed(crash.id, LOST, why="it could not be published")

    def expire(self, now: float) -> None:
        """Kill the jobs that are past their deadlines; they are reaped like any other."""
        for pid, job in self._running.items():
            if now > job.deadline:
                job.deadline = now + 5
                self._say(f"crash {job.crash.id}: completing it takes too long, killed")
                os.kill(pid, signal.SIGKILL)  # our child, not reaped yet

    def next_deadline(self) -> float | None:
        """Monotonic seconds of the earliest deadline."""
        return min((job.deadline for job in self._running.values()), default=None)
