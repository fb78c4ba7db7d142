"""One crash behind the kernel's socket: who it is, announce, shake hands, collect, deliver."""

from __future__ import annotations

import _socket
import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator

from ..capture.collect import Limits
from ..capture.procfs import read_at
from ..client.collecting import ALONE_SECONDS, HELD_PART, Collected, capture, complain, watch
from ..client.link import ServerLink
from ..config import Config
from ..errors import FormatError
from ..live.holding import limits_of
from ..model.event import SOURCE_SOCKET, CrashEvent
from ..model.notes import NoteLog
from ..model.types import Pid, Tid
from .handshake import shake_hands
from .logs import Logs
from .peer import Peer, dumping_peer
from .rehearsal import rehearse

HANDSHAKE_SECONDS = 2.0
# After the release we rest until the process is gone, for its threads need the processors to die;
# at most so long, and so much for each thread: the report comes later for it.
_STEP_ASIDE_SECONDS, _STEP_ASIDE_THREAD = 0.002, 0.00004
_STEP_ASIDE_MOST = 0.05
_MAX_ALONE = 8  # children that analyse at one time, without a server
_BOOT_ID = b"/proc/sys/kernel/random/boot_id"


def boot_id() -> bytes:
    """The boot's id, b"" where /proc/sys is hidden."""
    try:
        return read_at(None, _BOOT_ID, 64).strip()
    except OSError:
        return b""


@contextlib.contextmanager
def _stepping_aside(pidfd: int, limits: Limits, *, wanted: bool) -> Iterator[None]:
    """With `limits` that have the capture rest after the release, where that is wanted."""
    if not wanted:
        yield
        return
    process = os.dup(pidfd)
    ended = select.poll()
    ended.register(process, select.POLLIN)

    def rest(threads: int) -> None:
        seconds = min(_STEP_ASIDE_MOST, _STEP_ASIDE_SECONDS + threads * _STEP_ASIDE_THREAD)
        ended.poll(seconds * 1000)

    limits.step_aside = rest
    try:
        yield
    finally:
        os.close(process)


class Work:
    """What a worker does with one connection after the other."""

    def __init__(self, config: Config, boot: bytes, queue_full: Callable[[], bool]) -> None:
        """`queue_full` says whether of a crash only the facts are to be taken."""
        self._config = config
        self._queue_full = queue_full
        self._boot = boot
        self._logs = Logs()
        self._children: set[int] = set()

    def take(self, conn: socket.socket, prepared: _socket.socket | None, *, busy: bool) -> bool:
        """Collect the crash whose connection this is; False if it was not the kernel's.

        `prepared` is a connection to the server, and used up unless the answer is False; `busy`
        says whether more crashes wait: then what takes long and could be missed is left out.
        """
        started = time.monotonic_ns()
        with conn:
            peer = dumping_peer(conn)
            if peer is None:
                return False
            event = self._event(peer)
            link = ServerLink(self._config.paths.run, event, prepared)
            link.announce(conn.fileno())
            limits = limits_of(self._config)
            limits.facts_only = self._queue_full()
            with _stepping_aside(peer.pidfd, limits, wanted=not busy):
                found = self._collect(conn, peer, event, link, limits, started)
            link.released(limits.facts_only)
        self._finish(link, found, busy=busy)
        return True

    def rehearse(self) -> None:
        """Go through the motions once, so that the first crash is no slower than the second."""

        def collect(conn: socket.socket, peer: Peer) -> None:
            event = self._event(peer)
            link = ServerLink(self._config.paths.run, event)
            limits = limits_of(self._config)
            self._let_files_go(self._collect(conn, peer, event, link, limits, time.monotonic_ns()))

        rehearse(collect)

    def _event(self, peer: Peer) -> CrashEvent:
        return CrashEvent(
            SOURCE_SOCKET, time.time_ns(), Pid(peer.pid), Tid(0), peer.signal, peer.dump_mode,
            peer.comm, self._boot,
        )  # fmt: skip

    def _collect(
        self,
        conn: socket.socket,
        peer: Peer,
        event: CrashEvent,
        link: ServerLink,
        limits: Limits,
        started: int,
    ) -> Collected:
        """Everything while the process is held; it is free afterwards."""
        notes = NoteLog()

        def let_go() -> None:
            # Not only close: the server has the connection, too.
            try:
                conn.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it was killed: the kernel has hung up

        try:
            waits = shake_hands(conn, HANDSHAKE_SECONDS)
        except FormatError as error:
            let_go()
            os.close(peer.pidfd)
            notes.add("capture", "the process", error.message)
            return Collected(event, notes, None, time.monotonic_ns() - started)
        if not waits:
            notes.add("capture", "all of it", "this kernel does not wait until it is taken")
        stream = os.dup(conn.fileno())
        # (What the handshake took is gone.)
        gone = (time.monotonic_ns() - started) / 1e9
        seconds = max(0.1, self._config.server.capture_seconds * HELD_PART - gone)
        return capture(stream, peer.pidfd, event, notes, link, let_go, started, limits, seconds)

    def _finish(self, link: ServerLink, found: Collected, *, busy: bool) -> None:
        """The process is gone on its way. From here on only the report waits."""
        watch(ALONE_SECONDS)
        try:
            if found.snapshot is not None and b"status" in found.snapshot.facts:
                self._logs.add_tail(found.snapshot, journal=not busy)
            if not link.deliver(found):
                self._alone(link, found)
        finally:
            watch(0)
            self._let_files_go(found)

    @staticmethod
    def _let_files_go(found: Collected) -> None:
        for file in found.snapshot.files if found.snapshot else ():
            if file.fd >= 0:
                os.close(file.fd)

    def _alone(self, link: ServerLink, found: Collected) -> None:
        """Without a server: a child analyses and publishes, so that the next crash finds us."""
        from ..client.alone import complete_alone

        watch(0)  # each of the children is watched, and ends
        self.reap(at_most=_MAX_ALONE - 1)
        child = os.fork()
        if child:
            self._children.add(child)
            return
        code = 1
        try:
            watch(ALONE_SECONDS)  # a timer is not inherited
            code = complete_alone(link, found, lambda: self._config)
        except BaseException as error:
            complain(f"the crash of process {found.event.pid} is lost: {error!r}")
        finally:
            os._exit(code)

    def reap(self, at_most: int = 0, *, wait: bool = True) -> None:
        """Take note of children that have ended, until no more than `at_most` run."""
        while self._children:
            block = wait and len(self._children) > at_most
            child, _ = os.waitpid(-1, 0 if block else os.WNOHANG)
            if not child:
                return
            self._children.discard(child)
