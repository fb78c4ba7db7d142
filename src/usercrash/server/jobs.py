"""The server's bounded pool: completes crashes in their order, a few at a time.

A job is a child of the server that runs `pipeline.complete` for one crash: it forks the
unprivileged analysis, publishes, closes the event. The server itself never waits for an analysis,
or for data to be on disk. A job that dies or hangs is repeated once without analysis.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from ..analysis.sandbox import reap_children, unprivileged_ids
from ..config import Config
from ..descriptors import close_all_but
from ..isolated_analysis import attempts_seconds
from ..pipeline import Crash, complete
from ..storage.events import DUPLICATE, INCOMPLETE, LOST, PUBLISHED, EventLog
from ..storage.store import Store
from .elf_descriptors import ElfDescriptors
from .queue import Job, Queue

PUBLISH_SECONDS = 20.0  # beside the analysis: writing, locks, SymCaches
# A job makes way for captures, but even beside many busy processes it gets its share.
NICE = 10
FORK_AGAIN_SECONDS = 1.0
# While more than BURST crashes wait and more come (the last one within CALM_SECONDS), captures get
# the processors: a job is started each PACE_SECONDS only, until half of the queue is used up.
BURST = 8
CALM_SECONDS = 0.03
PACE_SECONDS = 0.25
# Longer than any other collector of a crash that was closed can still come to publish it:
# two jobs of two servers, or a client that is alone (client/collecting.py).
CLAIM_SECONDS = 900.0

_EXIT = {PUBLISHED: 0, INCOMPLETE: 10, LOST: 11, DUPLICATE: 12}
_OUTCOMES = {code: outcome for outcome, code in _EXIT.items()}
_FAILED = 1


class Pool:
    """Runs jobs in the order of `submit`, at most `[analysis] workers` at once.

    `closed` is called with the outcome (events.*) of each crash that came to its end.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        log: EventLog,
        say: Callable[[str], None],
        closed: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._config = config
        self._store = store
        self._log = log
        self._say = say
        self._closed = closed
        self._at_once = config.analysis.workers or len(os.sched_getaffinity(0))
        # Never so many that none are left for those who are being collected.
        most = min(config.queue.files, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._files = ElfDescriptors(most, config.queue.files_seconds)
        self._queue = Queue(config.queue)
        self._running: dict[int, Job] = {}
        self._submitted = self._started = 0.0  # the last time, monotonic seconds
        self._start_at = 0.0  # when those that wait are looked at again; 0: when a job ends
        self._told = False  # that no process was to be had
        self._claims: deque[tuple[float, bytes]] = deque()  # when they go
        if os.geteuid() == 0:
            unprivileged_ids(config.analysis.user)  # remembered, for all jobs

    def submit(self, crash: Crash, *, analyse: bool = True) -> None:
        """Take the crash over. Its descriptors are closed or shared: what was collected is
        found under its id in the store."""
        self._submitted = time.monotonic()
        files, crash.files = self._files.keep(crash.files, self._submitted), []
        self._queue.put(Job(crash, files, analyse=analyse))
        self._start_waiting()

    @property
    def waiting(self) -> int:
        """How many crashes wait for their analysis."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """How many are being analysed."""
        return len(self._running)

    def full(self) -> bool:
        """Whether of a further crash only the facts are to be kept."""
        return self._queue.full()

    def known(self) -> set[str]:
        """The ids of all crashes that wait or run."""
        return {job.crash.id for job in (*self._queue, *self._running.values())}

    def _start_waiting(self) -> None:
        self._start_at = 0.0
        while len(self._queue) and len(self._running) < self._at_once:
            now = time.monotonic()
            if self._in_burst(now):
                calm = self._submitted + CALM_SECONDS
                self._start_at = min(calm, self._started + PACE_SECONDS)
                return
            job = self._queue.take()
            try:
                job.pid = os.fork()
            except OSError as error:  # out of processes or memory
                self._queue.put_back(job)
                if not self._told:
                    self._say(f"cannot start an analysis: {error.strerror}")
                self._told = True
                self._start_at = now + FORK_AGAIN_SECONDS
                return
            if job.pid == 0:
                self._child(job)
            self._started, self._told = now, False
            self._files.release(job.files)  # the job has its own
            job.files = []
            # The attempts at the analysis, and what comes after.
            job.deadline = now + attempts_seconds(self._config) + PUBLISH_SECONDS
            if self._config.symbols.debuginfod:  # fetching, and an analysis again
                job.deadline += self._config.symbols.debuginfod_total_seconds
            self._running[job.pid] = job

    def _in_burst(self, now: float) -> bool:
        """Whether a job should not be started yet, because crashes are coming thick and fast."""
        return (
            len(self._queue) > BURST
            and not self._queue.full(half=True)
            and now < self._submitted + CALM_SECONDS
            and now < self._started + PACE_SECONDS
        )

    def _child(self, job: Job) -> None:
        """Never returns."""
        code = _FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            crash = job.crash
            crash.files = [file.fd for file in job.files]
            close_all_but({*crash.files, *self._store.descriptors()})
            _make_way()
            self._open_collected(job)
            outcome = complete(
                self._config, self._store, self._log, crash, analyse=job.analyse, say=self._say
            )
            reap_children()
            code = _EXIT[outcome]
        except BaseException as error:  # the parent repeats it, or counts it as lost
            self._say(f"crash {job.crash.id}: {error!r}")
        finally:
            os._exit(code)

    def _open_collected(self, job: Job) -> None:
        """Open what lies on disk of the crash."""
        if not job.has_report and not job.has_core:
            return
        crash = job.crash
        try:
            spool = self._store.open_spool(crash.id)
        except OSError as error:  # FileNotFoundError: another collector has published it
            crash.interrupted = crash.interrupted or f"what was collected: {error.strerror}"
            return
        crash.report = spool.report
        if job.has_core:
            crash.core = spool.core
        else:
            os.close(spool.core)

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
        outcome = _OUTCOMES.get(os.waitstatus_to_exitcode(status))
        if outcome is None and job.analyse:
            self._say(f"crash {crash.id}: completing it failed (wait status {status}), once more")
            job.analyse = False
            self._queue.put_back(job)
            return
        if outcome is None:
            outcome = LOST
            self._say(f"crash {crash.id} is lost: it could not be published")
            self._log.closed(crash.id, LOST, why="it could not be published")
        self._claims.append((time.monotonic() + CLAIM_SECONDS, crash.key))
        self._closed(outcome)

    def expire(self, now: float) -> None:
        """Kill the jobs that are past their deadlines (they are reaped like any other); let go
        of files and claims that were kept long enough."""
        for pid, job in self._running.items():
            if now > job.deadline:
                job.deadline = now + 5
                self._say(f"crash {job.crash.id}: completing it takes too long, killed")
                os.kill(pid, signal.SIGKILL)  # our child, not reaped yet
        self._files.expire(now)
        while self._claims and self._claims[0][0] < now:
            self._store.forget_claim(self._claims.popleft()[1])
        if self._start_at and now >= self._start_at:
            self._start_waiting()

    def next_deadline(self) -> float | None:
        """Monotonic seconds of the earliest thing that `expire` has to do in time."""
        due = [job.deadline for job in self._running.values()]
        due.extend(filter(None, (self._files.next_deadline(), self._start_at)))
        return min(due, default=None)


def _make_way() -> None:
    """Of this process and its children: captures go first, in which processes are held."""
    with suppress(OSError):
        os.nice(NICE)
        # Never interrupts what runs when it is woken (sched(7)).
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
