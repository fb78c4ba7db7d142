"""The server's loop.

One process, one loop, no threads: it takes the packets of clients and workers, hands out the
files, keeps the deadlines. Everything that can take long runs in children (jobs.py, workers.py).
"""

from __future__ import annotations

import gc
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable

from .. import server_state
from ..config import Config
from ..isolated_analysis import preload
from ..server_config import save_effective
from ..storage.events import EventLog
from ..storage.store import Store
from ..system.entrance import PatternSwitch
from .incident import Desk
from .jobs import Pool
from .missed import MissedCrashes
from .reception import Reception
from .recovery import Recovery
from .sockets import open_listeners
from .tally import Tally
from .workers import Workers

RECOVERY_SECONDS = 0.25
STOP_SECONDS = 2.0  # beside what a capture may take


class Server:
    """Listens in the run directory until it is told to stop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._entrance = PatternSwitch(config.paths.run, config.server.entrance, say)
        # First of all: from here on, whoever crashes waits for us instead of finding nobody.
        self._listeners = open_listeners(config.paths.run, self._entrance.wants_socket, say)
        self._selector = selectors.DefaultSelector()
        self._store = Store(config.paths.reports, config.reports.slots, create=True)
        self._log = EventLog(config.paths.state, say)
        self._tally = Tally()
        self._pool = Pool(config, self._store, self._log, say, self._tally.closed)
        self._recovery = Recovery(config, self._store, self._log, self._pool.submit)
        self._workers: Workers | None = None
        if kernel := self._listeners.kernel:
            self._workers = Workers(config, kernel, self._listeners, self._selector, say)
        desk = Desk(
            config, self._store, self._log, self._pool, self._tally, self._workers,
            self._describe, say,
        )  # fmt: skip
        self._reception = Reception(self._listeners.clients, self._selector, desk)
        self._missed = MissedCrashes(
            config.paths.state, self._selector, self._tally, self._log, say, self._unreachable
        )
        self._look_again = 0.0  # when, monotonic, at the crashes of before
        self._stopping = False
        self._wake, self._wake_end = socket.socketpair()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._catch_signals()
        if self._config.server.workers:
            preload()  # else each analysis imports what it needs: slower, and less memory now
        try:
            save_effective(self._config)
        except OSError as error:  # no room: clients without us use the configuration's file
            say(f"cannot leave the configuration in {self._config.paths.run}: {error.strerror}")
        gc.collect()
        gc.freeze()  # what every child shares stays shared
        if self._workers is not None:
            self._workers.act(time.monotonic())
        self._entrance.open()
        self._recovery.find()
        self._store.collect_garbage(self._pool.known() | self._recovery.ids())
        notify("READY=1")
        while not self._stopping:
            self._turn()
        notify("STOPPING=1", wanted=False)
        self._stop()

    def _catch_signals(self) -> None:
        self._wake.setblocking(False)
        self._wake_end.setblocking(False)
        signal.set_wakeup_fd(self._wake_end.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)

    def _on_signal(self, number: int, frame: object) -> None:
        if number != signal.SIGCHLD:
            self._stopping = True

    def _woken(self) -> None:
        try:
            while self._wake.recv(4096):
                continue
        except BlockingIOError:
            self._pool.reap()
            if self._workers is not None:
                self._workers.reap()

    def _turn(self, latest: float | None = None) -> None:
        """Wait for something to do, until `latest` (monotonic) at most, and do it."""
        due = [self._pool.next_deadline(), self._reception.next_due(), self._missed.next_due()]
        due.append(latest)
        if self._workers is not None:
            due.append(self._workers.next_due())
        if self._recovery.ids():
            due.append(self._look_again)
        first = min((one for one in due if one is not None), default=None)
        patience = None if first is None else max(0.0, first - time.monotonic())
        for key, _ in self._selector.select(patience):
            callback: Callable[[], None] = key.data
            callback()
        self._act(time.monotonic())

    def _act(self, now: float) -> None:
        self._pool.expire(now)
        self._reception.act(now)
        self._missed.act(now)
        if self._workers is not None:
            self._workers.tell_queue(full=self._pool.full())
            self._workers.act(now)
        if self._recovery.ids() and now >= self._look_again:
            self._recovery.look()
            self._look_again = now + RECOVERY_SECONDS

    def _unreachable(self) -> None:
        """The kernel did not find us. If our socket is gone from its path (somebody has removed
        the run directory), crashes go to the client, which needs none."""
        if self._listeners.kernel is not None and self._listeners.replaced():
            place = self._listeners.path_of_kernel_socket
            say(f"{place} is not our socket any more: crashes go to usercrash_c. Restart us")
            self._entrance.close()

    def _stop(self) -> None:
        """From now on the kernel starts usercrash_c; what came to us until then is collected."""
        self._entrance.close()
        if self._workers is not None:
            self._workers.stop()
        deadline = time.monotonic() + self._config.server.capture_seconds + STOP_SECONDS
        while self._workers or self._reception.collecting:
            if time.monotonic() > deadline:
                say("some crashes were still being collected when the time to stop was over")
                break
            self._turn(deadline)
        if self._workers is not None:
            self._workers.kill_all()
        self._missed.close()
        self._listeners.close()

    def _describe(self) -> bytes:
        """The server's state as JSON."""
        server, workers = self._config.server, self._workers
        state = self._tally.state(
            listening=workers is not None,
            workers=server_state.Workers(
                waiting=workers.waiting if workers else 0,
                busy=workers.busy if workers else 0,
                wanted=server.workers,
            ),
            queue=server_state.Queue(
                waiting=self._pool.waiting,
                running=self._pool.running,
                crashes=self._config.queue.crashes,
                megabytes=self._config.queue.megabytes,
                full=self._pool.full(),
            ),
            watching=self._missed.watching,
            overwritten=self._missed.overwritten,
        )
        return server_state.encode(state)


def notify(state: str, *, wanted: bool = True) -> None:
    """Tell systemd (sd_notify(3)), where it started us; say if nobody took what was `wanted`."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError as error:
            if wanted:
                say(f"cannot notify {path}: {error.strerror}")


def say(text: str) -> None:
    """A line for the journal. Nothing where that is full, gone or hangs: we go on all the same."""
    line = f"usercrash_s: {text}"[:2000].encode("utf-8", "backslashreplace") + b"\n"
    try:
        if select.select((), (2,), (), 0)[1]:
            os.write(2, line)
    except (OSError, ValueError):
        return
