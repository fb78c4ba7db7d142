"""The server's listening sockets: one for clients, one for the kernel.

Either systemd holds them (sd_listen_fds(3)): then a restart of the server loses nobody who
waits there. Or the server makes them, each bound beside its path and renamed over the
one before: then there is no moment without a socket.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
from collections.abc import Callable

from .. import protocol
from ..errors import UsercrashError
from ..system import sysctl
from ..system.entrance import KERNEL_SOCKET

BACKLOG = 65535  # the kernel takes what net.core.somaxconn allows
ENOUGH_BACKLOG = 1024

_LOCK = "server.lock"
_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_SOMAXCONN = "net/core/somaxconn"
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit systems: type, whence, start, len, pid


class Listeners:
    """What a server listens on. `kernel` is None where no socket for the kernel is wanted.

    `lock` is open on server.lock, which this process holds (not its children: fcntl(2)).
    """

    def __init__(
        self,
        run: str,
        lock: int,
        clients: socket.socket,
        kernel: socket.socket | None,
        adopted: bool,
    ) -> None:
        self.lock = lock
        self.clients = clients
        self.kernel = kernel
        self.adopted = adopted  # the kernel's socket is systemd's
        self.path_of_kernel_socket = f"{run}/{KERNEL_SOCKET}"
        self._server = os.getpid()
        self._identity = _identity(self.path_of_kernel_socket)

    def replaced(self) -> bool:
        """Whether whoever connects to the kernel's socket reaches another server by now.

        For workers whose server is gone. One that we made is replaced with its path; one of
        systemd stays the same when the next server has it.
        """
        if _identity(self.path_of_kernel_socket) != self._identity:
            return True
        return self.adopted and _holder(self.lock) not in (0, self._server)

    def close(self) -> None:
        """Listen no longer; the paths stay, for the next server to take over."""
        self.clients.close()
        if self.kernel is not None:
            self.kernel.close()
        os.close(self.lock)


def open_listeners(run: str, kernel: bool, say: Callable[[str], None]) -> Listeners:
    """Make the run directory and the sockets in it, or take those that systemd made.

    With `kernel` also the one for the kernel's crashes. UsercrashError where another server
    runs, the directory is not safely ours, or systemd's sockets are not the ones of `run`.
    """
    try:
        lock = _take_run_directory(run)
        given = _adopt(run)
        clients = given.pop(protocol.SOCKET_NAME, None) or _bind(
            run, protocol.SOCKET_NAME, socket.SOCK_SEQPACKET
        )
        theirs = given.pop(KERNEL_SOCKET, None)
        adopted = theirs is not None
        if theirs is not None and not kernel:
            theirs.close()  # an entrance that is not used
            theirs = None
        elif theirs is None and kernel:
            theirs = _bind(run, KERNEL_SOCKET, socket.SOCK_STREAM)
    except BlockingIOError as error:
        raise UsercrashError(
            f"another usercrash_s serves {run}", "stop it first, or set [paths] run"
        ) from error
    except OSError as error:
        denied = isinstance(error, PermissionError)
        hint = "it is root's, unless the configuration names another" if denied else ""
        raise UsercrashError(f"run directory {run}: {error.strerror}", hint) from error
    if kernel:
        _check_backlog(say)
    return Listeners(run, lock, clients, theirs, adopted)


def server_of(run: str) -> int:
    """The process id of the server in `run`, 0 without one. Never for a server to call of
    itself: that it closes a descriptor of the lock would take the lock from it (fcntl(2))."""
    try:
        lock = os.open(f"{run}/{_LOCK}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return _holder(lock)
    finally:
        os.close(lock)


def _take_run_directory(run: str) -> int:
    """The run directory, ours alone, and the lock in it; BlockingIOError if that is taken."""
    os.makedirs(run, mode=0o700, exist_ok=True)
    state = os.lstat(run)
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        raise UsercrashError(f"run directory {run} is not a directory of our own")
    os.chmod(run, 0o700)
    lock = os.open(f"{run}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    # Not flock: children would hold that, too, and a server that is killed leaves some.
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _bind(run: str, name: str, kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    part = f"{run}/{name}.new"  # the lock is ours, so is this name
    if os.path.lexists(part):
        os.unlink(part)
    old = os.umask(0o177)
    try:
        sock.bind(part)
    finally:
        os.umask(old)
    sock.listen(BACKLOG)
    os.rename(part, f"{run}/{name}")
    return sock


def _adopt(run: str) -> dict[str, socket.socket]:
    """The sockets that systemd passed, by their names in `run`; each must be one of ours."""
    kinds = {protocol.SOCKET_NAME: socket.SOCK_SEQPACKET, KERNEL_SOCKET: socket.SOCK_STREAM}
    found: dict[str, socket.socket] = {}
    for number in _passed_descriptors():
        try:
            sock = socket.socket(fileno=number)
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise _wrong_socket(number, error.strerror or str(error), run) from error
        address = sock.getsockname()
        shown = os.fsdecode(address) if isinstance(address, str | bytes) else str(address)
        directory, _, name = shown.rpartition("/")
        if sock.family != socket.AF_UNIX or directory != run or name not in kinds:
            raise _wrong_socket(number, shown or "without an address", run)
        if not listens or sock.type != kinds[name] or name in found:
            raise _wrong_socket(number, f"{shown} in a way that was not expected", run)
        sock.setblocking(False)
        sock.set_inheritable(False)
        sock.listen(BACKLOG)  # whatever the unit says
        found[name] = sock
    return found


def _passed_descriptors() -> range:
    """The descriptors that systemd passed to this process; its variables are gone afterwards."""
    values = [os.environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES", "PIDFDID")]
    pid, count = values[:2]
    if pid != str(os.getpid()):
        return range(0)  # for somebody else, or there are none
    if not count.isdecimal() or int(count) > 64:
        raise UsercrashError(f"LISTEN_FDS={count!r} is not a number of sockets")
    return range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))


def _wrong_socket(number: int, what: str, run: str) -> UsercrashError:
    names = f"{protocol.SOCKET_NAME} (sequential packet) and {KERNEL_SOCKET} (stream)"
    return UsercrashError(
        f"descriptor {number} that was passed to us: {what}",
        f"usercrash.socket must listen on {names} in {run}",
    )


def _check_backlog(say: Callable[[str], None]) -> None:
    try:
        most = int(sysctl.read(_SOMAXCONN))
    except (UsercrashError, ValueError):
        return  # nothing that we know of is wrong
    if most < ENOUGH_BACKLOG:
        say(f"net.core.somaxconn is {most}: the kernel drops crashes beyond as many at one time")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        state = os.lstat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _holder(lock: int) -> int:
    """The process that holds the lock (F_GETLK), 0 if none or this one does."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else int(pid)
