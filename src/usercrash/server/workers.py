"""The workers behind the kernel's socket: how many there are, and that one that fails costs
no more than itself."""

from __future__ import annotations

import gc
import math
import mmap
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable

from ..config import Config
from ..descriptors import close_all_but
from ..worker.loop import Worker
from .sockets import Listeners

# If a crash has waited for so long, and no worker took any in that time, they do not just have
# much to do: something blocks them.
BLOCKED_SECONDS = 0.05
# How long one that is not needed any more stays, should another storm come.
SPARE_SECONDS = 10.0
# A worker that dies at once is not replaced at once.
SETTLE_SECONDS = 1.0


class _Known:
    """One worker; times in monotonic seconds."""

    __slots__ = ("born", "busy_since", "idle_since", "leaving", "pid", "stopped_since")

    def __init__(self, pid: int, now: float) -> None:
        self.pid = pid
        self.born = now
        self.busy_since = 0.0  # 0: it waits
        self.idle_since = now
        self.leaving = False
        self.stopped_since = 0.0  # 0: it runs


class Workers:
    """Forks workers and follows what they do.

    As many as configured are kept. When a crash waits and nobody is there for it, more are started,
    up to the number of processors; when all who are there are blocked, one more, up to the
    configured most. These leave when they are not needed.
    """

    def __init__(
        self,
        config: Config,
        listener: socket.socket,
        listeners: Listeners,
        selector: selectors.BaseSelector,
        say: Callable[[str], None],
    ) -> None:
        self._config = config
        self._listener = listener
        self._look_at = math.inf  # when to see whether a crash still waits
        self._last_taken = 0.0  # when a worker took one
        self._listeners = listeners
        self._say = say
        self._known: dict[int, _Known] = {}
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)  # with all workers: whether the queue is full
        self._not_before = 0.0  # when the next fork may be, after a failure
        self._stopping = False
        # With none that wait, as many as can run at once are started without looking further.
        self._most = max(config.server.max_workers, config.server.workers)
        processors = len(os.sched_getaffinity(0))
        self._at_once = max(config.server.workers, min(self._most, processors))
        # Told once of each connection, without being in the way of those who take it.
        self._arrivals = select.epoll()
        self._arrivals.register(listener.fileno(), select.EPOLLIN | select.EPOLLET)
        selector.register(self._arrivals, selectors.EVENT_READ, self._arrived)

    # -- numbers ----------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many wait for a crash (or are about to)."""
        return sum(not one.busy_since and not one.leaving for one in self._known.values())

    @property
    def busy(self) -> int:
        """How many have a crash in hand."""
        return sum(one.busy_since > 0 for one in self._known.values())

    def __contains__(self, pid: int) -> bool:
        return pid in self._known

    def tell_queue(self, *, full: bool) -> None:
        """Let the workers know, without a word to each, whether the queue is full."""
        self._shared[0] = full

    # -- what they tell ---------------------------------------------------------------

    def took(self, pid: int) -> None:
        """This worker has announced a crash."""
        if one := self._known.get(pid):
            one.busy_since = self._last_taken = time.monotonic()

    def waits(self, pid: int) -> None:
        """It has connected: it waits for its next crash."""
        if one := self._known.get(pid):
            one.busy_since = 0.0
            one.idle_since = time.monotonic()

    def kill(self, pid: int) -> None:
        """It hangs. If even this signal does not end it, it is replaced all the same."""
        if one := self._known.get(pid):
            self._say(f"worker {pid} hangs: killed")
            one.leaving = True
            os.kill(pid, signal.SIGKILL)  # our child, not reaped yet

    def reap(self) -> None:
        """Take note of workers that have ended."""
        for pid, one in list(self._known.items()):
            found, status = _news_of(pid)
            while found and (os.WIFSTOPPED(status) or os.WIFCONTINUED(status)):
                one.stopped_since = time.monotonic() if os.WIFSTOPPED(status) else 0.0
                found, status = _news_of(pid)
            if not found:
                continue
            del self._known[pid]
            if status and not self._stopping and not one.leaving:
                self._say(f"worker {pid} ended with wait status {status}")
                if time.monotonic() - one.born < SETTLE_SECONDS:
                    self._not_before = time.monotonic() + SETTLE_SECONDS

    def _end_stopped(self, now: float) -> None:
        """Kill those that have been stopped for as long as a capture may take: such a one may have
        accepted a crash of which it has not told us yet."""
        for pid, one in self._known.items():
            if one.stopped_since and now >= self._stop_ends(one):
                one.stopped_since = 0.0
                self.kill(pid)

    def _stop_ends(self, one: _Known) -> float:
        return one.stopped_since + self._config.server.capture_seconds

    # -- how many ---------------------------------------------------------------------

    def act(self, now: float) -> None:
        """Start those that are missing, let those go that are not needed."""
        if now >= self._look_at:
            self._look(now)
        self._end_stopped(now)
        if self._stopping:
            return
        for _ in range(self._config.server.workers - len(self._there())):
            if now < self._not_before or not self._fork():
                break
        self._dismiss_spare(now)

    def next_due(self) -> float | None:
        """Monotonic seconds of when `act` may have to do something; None if nothing is due."""
        there = self._there()
        times = [self._look_at]
        times.extend(self._stop_ends(one) for one in self._known.values() if one.stopped_since)
        if len(there) > self._config.server.workers:
            # (One that has not told that it waits is not dismissed.)
            idle = [one.idle_since for one in there if not one.busy_since]
            times += [min(idle) + SPARE_SECONDS] if idle else []
        if len(there) < self._config.server.workers and not self._stopping:
            times.append(self._not_before)
        first = min(times)
        return None if first == math.inf else first

    def _arrived(self) -> None:
        """A crash has come. Usually a worker has it already."""
        self._arrivals.poll(0)
        now = time.monotonic()
        if self._look_at == math.inf:
            self._look_at = now if not self.waiting else now + BLOCKED_SECONDS

    def _look(self, now: float) -> None:
        """Start a worker for a crash that nobody takes: none is there, or all are blocked."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        if not poll.poll(0):
            self._look_at = math.inf
            return
        there = self._there()
        at_once = not self.waiting and len(there) < self._at_once
        blocked = now - self._last_taken > BLOCKED_SECONDS and len(there) < self._most
        if (at_once or blocked) and now >= self._not_before:
            self._fork()
        self._look_at = now + BLOCKED_SECONDS

    def _there(self) -> list[_Known]:
        """Those to count on: one that is to end, but hangs for good, is not among them."""
        return [one for one in self._known.values() if not one.leaving]

    def _dismiss_spare(self, now: float) -> None:
        there = self._there()
        spare = len(there) - self._config.server.workers
        for one in sorted(there, key=lambda one: one.idle_since):
            if spare <= 0:
                return
            if not one.busy_since and now - one.idle_since > SPARE_SECONDS:
                one.leaving = True
                os.kill(one.pid, signal.SIGTERM)
                spare -= 1

    # -- beginning and end ------------------------------------------------------------

    def _fork(self) -> bool:
        server = os.getpid()
        # Until the child has put our handlers away, a SIGTERM for it would be lost in them.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            pid = os.fork()
            if pid == 0:
                self._child(server)
        except OSError as error:  # out of processes or memory: later
            self._say(f"cannot start a worker: {error.strerror}")
            self._not_before = time.monotonic() + SETTLE_SECONDS
            return False
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._known[pid] = _Known(pid, time.monotonic())
        return True

    def _child(self, server: int) -> None:
        """Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the server's
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            close_all_but({self._listener.fileno(), self._listeners.lock})
            gc.freeze()
            replaced = self._listeners.replaced
            Worker(
                self._config, self._listener, server, replaced, self._queue_full,
                leaving=self._stopping,
            ).run()  # fmt: skip
            code = 0
        except BaseException as error:
            self._say(f"worker: {error!r}")
        finally:
            os._exit(code)

    def _queue_full(self) -> bool:
        return bool(self._shared[0])

    def stop(self) -> None:
        """Have them finish what they have, and what still waits in the socket, and end."""
        self._stopping = True
        for pid in self._known:
            os.kill(pid, signal.SIGTERM)

    def kill_all(self) -> None:
        """End those that have not come to an end by themselves."""
        for pid in self._known:
            os.kill(pid, signal.SIGKILL)

    def __len__(self) -> int:
        return len(self._known)


def _news_of(pid: int) -> tuple[int, int]:
    """The next thing that has happened to a child, as waitpid gives it; (0, 0) for nothing."""
    return os.waitpid(pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
