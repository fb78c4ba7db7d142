"""A worker's life: wait for a crash, take it, and again; and what becomes of it without a server.

It is forked from the warm server and shares its memory. It handles many crashes, because a
new one is slower for the first (its pages are copied then), and is replaced after some, or when
it has grown. When the server dies, it stays behind with the kernel's socket, so
that no crash finds nobody, until another server has its own.
"""

from __future__ import annotations

import _socket
import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from ..capture.filesystems import keep_mounts
from ..capture.procfs import read_at
from ..client.link import connect
from ..config import Config
from .work import Work, boot_id

MAX_CRASHES = 500
MAX_GROWTH = 48 << 20  # bytes of memory since the start
_LOOK_SECONDS = 1.0  # how often a worker without a server looks for the next one
_DRAIN_SECONDS = 0.1  # for those that have read core_pattern and not connected yet
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Worker:
    """`replaced` says whether another server has taken our socket's place, `queue_full` whether
    of a crash only the facts are to be taken. With `leaving` it takes what waits, and ends."""

    def __init__(
        self,
        config: Config,
        listener: socket.socket,
        server: int,
        replaced: Callable[[], bool],
        queue_full: Callable[[], bool],
        *,
        leaving: bool = False,
    ) -> None:
        self._config = config
        self._listener = listener
        self._server = server  # process id
        self._replaced = replaced
        self._prepared: _socket.socket | None = None
        self._leaving = leaving
        self._orphan = False
        self._work = Work(config, boot_id(), queue_full)
        self._wake, wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        # Exclusive: of all that wait, the kernel wakes one.
        self._epoll = select.epoll()
        self._epoll.register(listener.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._epoll.register(self._wake, select.EPOLLIN)

    def run(self) -> None:
        """Serve until told to leave, or old, or of no use any more."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        # (Not to be dumped is inherited from the server.)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGUSR1), 0, 0, 0)
        if os.getppid() != self._server:
            self._orphan = True
        gc.disable()
        keep_mounts()
        if not self._readable(0.0):
            with contextlib.suppress(OSError):  # out of processes: the first crash is slower
                self._work.rehearse()
        before = _resident()
        crashes = 0
        while not self._is_old(crashes, before) and self._take_one():
            gc.collect()
            self._work.reap(wait=False)
            crashes += 1
        self._work.reap()

    def _is_old(self, crashes: int, before: int) -> bool:
        """Whether to make room for a new worker. Nobody starts one any more where the server is
        dead, or stops: then what waits in the socket is ours to take."""
        if self._orphan or self._leaving:
            return False
        return crashes >= MAX_CRASHES or _resident() - before > MAX_GROWTH

    def _on_signal(self, number: int, frame: object) -> None:
        """SIGTERM: leave. SIGUSR1: the server is dead (its death signal)."""
        if number == signal.SIGTERM:
            self._leaving = True
        else:
            self._orphan = True

    def _take_one(self) -> bool:
        """Wait for a crash and collect it; False if it is time to leave."""
        self._connect()
        conn = self._accept()
        if conn is None:
            return False
        if self._work.take(conn, self._prepared, busy=self._readable(0.0)):
            self._prepared = None
        return True

    def _accept(self) -> socket.socket | None:
        """The next connection; None when there is none and we leave."""
        while not self._leaving and not self._orphan:
            self._epoll.poll()
            if conn := self._accept_now():
                return conn
        return self._accept_last() if self._leaving else self._accept_alone()

    def _accept_alone(self) -> socket.socket | None:
        """The server is dead. Stay until another one is there, and take what came before."""
        while not self._leaving and not self._replaced():
            if self._readable(_LOOK_SECONDS) and (conn := self._accept_now()):
                return conn
        return self._accept_last()

    def _accept_last(self) -> socket.socket | None:
        """What was on its way to us when we were told to leave."""
        self._readable(_DRAIN_SECONDS)
        return self._accept_now()

    def _accept_now(self) -> socket.socket | None:
        """A connection that is there; None if another worker was faster."""
        try:
            conn, _ = self._listener.accept()
        except BlockingIOError:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
            return None
        except OSError:  # out of descriptors or memory, or it has hung up again
            time.sleep(0.01)
            return None
        return conn

    def _readable(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._listener.fileno(), select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _connect(self) -> None:
        """Be connected to the server before there is a crash: that costs the held process
        nothing, and tells the server that we wait."""
        if self._prepared is None:
            try:
                self._prepared = connect(self._config.paths.run)
            except OSError:
                return  # the next crash tries it again, and goes on alone


def _resident() -> int:
    """Bytes of memory that are ours or shared (field 2 of /proc/self/statm)."""
    return int(read_at(None, b"/proc/self/statm", 128).split()[1]) * _PAGE
