"""The server's loop.

One process, one loop, no threads: it takes the clients' packets, hands out the files, keeps
the deadlines. Everything that can take long runs in children (jobs.py).
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import selectors
import signal
import socket
import stat
import struct
import time
from collections.abc import Callable

from .. import protocol
from ..config import Config
from ..errors import UsercrashError
from ..server_config import save_effective
from ..storage.events import EventLog
from ..storage.store import Store
from .incident import Incident, State
from .jobs import Pool
from .recovery import Recovery

_UCRED = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
BACKLOG = 4096
RECOVERY_SECONDS = 0.25


class Server:
    """Listens in the run directory until it is told to stop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._store = Store(config.paths.reports, config.reports.slots, create=True)
        self._log = EventLog(config.paths.state, say)
        self._pool = Pool(config, self._store, self._log, say)
        self._recovery = Recovery(config, self._store, self._log, self._pool.submit)
        self._selector = selectors.DefaultSelector()
        self._incidents: set[Incident] = set()
        self._stopping = False
        self._lock, self._listener = listen(config.paths.run)
        self._wake, self._wake_end = socket.socketpair()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._wake.setblocking(False)
        self._wake_end.setblocking(False)
        signal.set_wakeup_fd(self._wake_end.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
        self._recovery.find()
        self._store.collect_garbage(self._pool.known() | self._recovery.ids())
        try:
            save_effective(self._config)
        except OSError as error:  # no room: clients without us use the configuration's file
            say(f"cannot leave the configuration in {self._config.paths.run}: {error.strerror}")
        gc.freeze()  # what every child shares stays shared
        notify("READY=1")
        while not self._stopping:
            for key, _ in self._selector.select(self._patience()):
                callback: Callable[[], None] = key.data
                callback()
            self._keep_deadlines()
        notify("STOPPING=1", wanted=False)
        self._listener.close()

    def _on_signal(self, number: int, frame: object) -> None:
        if number != signal.SIGCHLD:
            self._stopping = True

    def _woken(self) -> None:
        try:
            while self._wake.recv(4096):
                continue
        except BlockingIOError:
            self._pool.reap()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors: those in work will give some back
                say(f"accept: {error.strerror}")
                time.sleep(0.01)
                return
            if not allowed(sock):
                sock.close()
                continue
            sock.setblocking(False)
            incident = Incident(sock, self._config, self._store, self._log, self._pool.submit, say)
            self._incidents.add(incident)
            self._selector.register(
                sock, selectors.EVENT_READ, lambda incident=incident: self._progress(incident)
            )
            self._progress(incident)  # the announcement is usually there already

    def _progress(self, incident: Incident) -> None:
        """Let the incident take what came, and see where it stands afterwards."""
        sock = incident.sock.fileno()
        incident.on_readable()
        if incident.state in (State.HANDED_BACK, State.DONE):
            self._selector.unregister(sock)
        if incident.state is State.HANDED_BACK:
            incident.sock.close()
            self._selector.register(
                incident.pidfd, selectors.EVENT_READ, lambda: self._settle(incident)
            )
        elif incident.state is State.DONE:
            self._incidents.discard(incident)

    def _settle(self, incident: Incident) -> None:
        self._selector.unregister(incident.pidfd)
        self._incidents.discard(incident)
        incident.settle()

    def _patience(self) -> float | None:
        """Seconds until the next deadline, None without one."""
        deadlines = [incident.deadline for incident in self._incidents]
        job = self._pool.next_deadline()
        if job is not None:
            deadlines.append(job)
        if self._recovery.ids():
            deadlines.append(time.monotonic() + RECOVERY_SECONDS)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _keep_deadlines(self) -> None:
        now = time.monotonic()
        self._pool.expire(now)
        if self._recovery.ids():
            self._recovery.look()
        for incident in [one for one in self._incidents if now > one.deadline]:
            if incident.state is State.HANDED_BACK:
                self._settle(incident)
                continue
            self._selector.unregister(incident.sock)
            self._incidents.discard(incident)
            what = "request" if incident.state is State.CONNECTED else "completion notice"
            incident.give_up(f"no {what} within its time")


def allowed(sock: socket.socket) -> bool:
    """Whether the peer is root, or has our own uid."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return False
    _, uid, _ = _UCRED.unpack(raw)
    return uid in (0, os.geteuid())


def listen(run: str) -> tuple[int, socket.socket]:
    """Make the run directory and its socket; (lock descriptor, listening socket).

    UsercrashError where another server runs, or the directory is not safely ours.
    """
    try:
        os.makedirs(run, mode=0o700, exist_ok=True)
        state = os.lstat(run)
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
            raise UsercrashError(f"run directory {run} is not a directory of our own")
        os.chmod(run, 0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(f"{run}/server.lock", flags, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        # Bound beside and renamed: between two servers there is no moment without a socket.
        part = f"{run}/{protocol.SOCKET_NAME}.{os.getpid()}"
        old = os.umask(0o177)
        try:
            sock.bind(part)
        finally:
            os.umask(old)
        sock.listen(BACKLOG)
        os.rename(part, f"{run}/{protocol.SOCKET_NAME}")
    except BlockingIOError as error:
        raise UsercrashError(
            f"another usercrash_s serves {run}", "stop it first, or set [paths] run"
        ) from error
    except OSError as error:
        raise UsercrashError(f"run directory {run}: {error.strerror}") from error
    return lock, sock


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
