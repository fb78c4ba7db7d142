"""One client's connection, as the server sees it: from its first packet to its last.

Whatever the client does, an incident ends in one of three ways: the crash goes to the pool;
the client has taken it back and publishes it alone; nothing was ever announced.
"""

from __future__ import annotations

import enum
import math
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .. import protocol
from ..config import Config
from ..errors import FormatError
from ..model.types import Tid
from ..peer_credentials import peer_pidfd
from ..pipeline import Crash
from ..storage.events import FACTS_ONLY, EventLog
from ..storage.store import Store
from .jobs import Pool
from .tally import Tally
from .workers import Workers

# A client that goes on alone ends itself earlier (client/collecting.py).
ALONE_SECONDS = 130.0


class State(enum.Enum):
    """Where an incident stands."""

    CONNECTED = "connected"  # waiting for the announcement
    COLLECTING = "collecting"  # descriptors are granted, waiting for the completion notice
    HANDED_BACK = "handed back"  # the client hung up but lives: it goes on alone
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Desk:
    """What all incidents work with. `workers` is None where the kernel offers no socket;
    `describe` gives the server's state as JSON; `say` is for people."""

    config: Config
    store: Store
    log: EventLog
    pool: Pool
    tally: Tally
    workers: Workers | None
    describe: Callable[[], bytes]
    say: Callable[[str], None]


class Incident:
    """A connection with its deadline (monotonic seconds), of the process `pid`.

    `hanging_up` is called with the socket just before it is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        pid: int,
        desk: Desk,
        hanging_up: Callable[[socket.socket], object],
    ) -> None:
        self.sock = sock
        self._hanging_up = hanging_up
        self.state = State.CONNECTED
        self.crash: Crash | None = None
        self.pidfd = _peer_pidfd(sock)
        self.deadline = time.monotonic() + desk.config.server.request_seconds
        self._pid = pid
        self._desk = desk
        self._facts_only = False  # the queue is full
        self._held: protocol.Announce | None = None  # of a process that a worker holds
        self._kernel = -1  # the kernel's connection, of a worker's crash
        self._worker = desk.workers is not None and pid in desk.workers
        if self._worker and desk.workers is not None:
            self.deadline = math.inf  # it waits for a crash
            desk.workers.waits(pid)

    def on_readable(self) -> None:
        """Take the packets that are there."""
        while self.state in (State.CONNECTED, State.COLLECTING):
            try:
                data, fds = protocol.receive(self.sock)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # told once, when it left our packet unread; what it sent is still there
            except OSError as error:
                return self._hung_up(error.strerror or "error on the connection")
            except FormatError as error:
                return self.give_up(f"the client sent a {error}")
            if not data:
                protocol.close_all(fds)
                return self._hung_up("the client ended before it was done")
            try:
                self._take(protocol.decode(data), fds)
            except FormatError as error:
                protocol.close_all(fds)
                return self.give_up(f"the client sent nonsense: {error}")

    def _take(self, packet: object, fds: list[int]) -> None:
        """FormatError, with `fds` still open, for a packet that does not fit here."""
        crash = self.crash
        fresh = crash is None and self._held is None
        if fresh and isinstance(packet, protocol.Announce) and len(fds) <= 1:
            if fds:  # of a worker: ours, or one that the server before us has left behind
                self._hold(packet, fds[0])
            else:
                self._announced(packet, facts_only=self._desk.pool.full())
        elif self._held is not None and isinstance(packet, protocol.Released) and not fds:
            held, self._held = self._held, None
            self._announced(held, facts_only=bool(packet.flags & protocol.FACTS_ONLY))
        elif fresh and isinstance(packet, protocol.Status) and not fds:
            self._answer(protocol.encode_state(protocol.State(self._desk.describe())))
            self.close()
        elif crash is not None and isinstance(packet, protocol.Files):
            room = self._desk.config.capture.max_files - len(crash.files)
            if packet.count != len(fds) or packet.first != len(crash.files) or len(fds) > room:
                raise FormatError("descriptors that do not fit their numbers")
            crash.files.extend(fds)
        elif crash is not None and isinstance(packet, protocol.Complete) and not fds:
            self._completed(crash, packet)
        else:
            raise FormatError(f"{type(packet).__name__} out of turn")

    def _hold(self, packet: protocol.Announce, kernel: int) -> None:
        """A worker holds a process. What we would do now would take the processor from it: all
        that waits until it is released, or until the worker fails."""
        self._held = packet
        self._kernel = kernel
        self.state = State.COLLECTING
        self.deadline = time.monotonic() + self._desk.config.server.capture_seconds
        if self._desk.workers is not None:
            self._desk.workers.took(self._pid)

    def _announced(self, packet: protocol.Announce, *, facts_only: bool) -> None:
        desk = self._desk
        crash_id = os.urandom(16)
        name = crash_id.hex()
        try:
            spool = desk.store.create_spool(name)
        except OSError as error:
            desk.say(f"cannot make the files of a crash in {desk.store.path}: {error.strerror}")
            self._answer(
                protocol.encode_refuse(protocol.Refuse(f"{desk.store.path}: {error.strerror}"))
            )
            return self.close()
        self.crash = Crash(name, packet.key, packet.event, spool.report, spool.core)
        desk.log.announced(name, packet.key, packet.event)
        desk.tally.announced(packet.event.pid)
        self.state = State.COLLECTING
        self.deadline = time.monotonic() + desk.config.server.capture_seconds
        self._facts_only = facts_only
        capture = desk.config.capture
        grant = protocol.Grant(
            crash_id, capture.max_memory_mb << 20, capture.crashing_stack_mb << 20,
            capture.other_stack_kb << 10, capture.max_files, capture.seconds,
            (protocol.FACTS_ONLY if self._facts_only else 0)
            | (protocol.VARIABLES if desk.config.python.variables else 0),
        )  # fmt: skip
        try:
            protocol.send(self.sock, protocol.encode_grant(grant), (spool.report, spool.core))
        except OSError:
            self._hung_up("the client was gone before it had its files")

    def _answer(self, packet: bytes) -> None:
        try:
            protocol.send(self.sock, packet)
        except OSError:
            self._desk.say("a client was gone before it had its answer")

    def _completed(self, crash: Crash, packet: protocol.Complete) -> None:
        event = crash.event
        event.signal = event.signal or packet.signal
        event.tid = event.tid or Tid(packet.tid)
        self._desk.tally.held(event.pid, packet.comm or event.name, event.source, packet.hold_ns)
        if self._facts_only:
            return self._keep_facts(crash, packet)
        if packet.files != len(crash.files):
            crash.interrupted = f"{packet.files - len(crash.files)} ELF files did not arrive"
        elif packet.core_size == 0:
            crash.interrupted = "the client could not capture the process"
        self._finish(crash)

    def _keep_facts(self, crash: Crash, packet: protocol.Complete) -> None:
        """The queue is full: a line in the event log is all that this crash gets."""
        desk = self._desk
        desk.log.closed(
            crash.id, FACTS_ONLY, why="the queue was full", comm=packet.comm, exe=packet.exe,
            uid=packet.uid, signal=crash.event.signal,
        )  # fmt: skip
        desk.tally.closed(FACTS_ONLY)
        desk.store.remove_spool(crash.id)
        protocol.close_all((crash.report, crash.core, *crash.files))
        self.crash = None
        self.close()

    def give_up(self, why: str) -> None:
        """The deadline is over, or the client makes no sense: publish what is known."""
        if self._kernel >= 0:
            self._end_hold()
        self._account_for_held()
        if self.crash is None:
            self._desk.say(f"a connection without a crash: {why}")
            return self.close()
        if self._worker and self._desk.workers is not None:
            self._desk.workers.kill(self._pid)
        self.crash.interrupted = why
        self._finish(self.crash)

    def _end_hold(self) -> None:
        """Let the process go that a worker holds and cannot let go any more."""
        with suppress(OSError):  # it was let go
            # Not a duplicate: there may be no descriptor left, and this is not to fail then.
            kernel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, self._kernel)
            self._kernel = -1
            with kernel:
                kernel.shutdown(socket.SHUT_RDWR)

    def _account_for_held(self) -> None:
        """The worker will not say that it released the process: its event, at least, is known."""
        if self._held is not None:
            held, self._held = self._held, None
            self.crash = Crash(os.urandom(16).hex(), held.key, held.event)
            self._desk.log.announced(self.crash.id, held.key, held.event)
            self._desk.tally.announced(held.event.pid)

    def _hung_up(self, why: str) -> None:
        self._account_for_held()
        if self.crash is not None and self.peer_alive():
            # It waited too long for us and goes on alone; it claims the crash when it publishes.
            self.crash.interrupted = why
            self.state = State.HANDED_BACK
            self._close_socket()
            self.deadline = time.monotonic() + ALONE_SECONDS
            return
        if self.crash is None and self._worker:
            return self.close()  # it was told to leave, or it is seen by its wait status
        self.give_up(why)

    def settle(self) -> None:
        """The end of a client that had taken its crash back (or of our patience with it)."""
        crash = self.crash
        assert crash is not None
        self._finish(crash)

    def _finish(self, crash: Crash) -> None:
        """Give the crash to the pool. A minicore that is not whole is none."""
        if not core_is_whole(crash.core):
            protocol.close_all((crash.core,) if crash.core >= 0 else ())
            crash.core = -1
            crash.interrupted = crash.interrupted or "the minicore is not whole"
        self.crash = None
        self.close()
        self._desk.pool.submit(crash)

    def peer_alive(self) -> bool:
        """Whether the client's process still runs (False where the kernel cannot tell)."""
        if self.pidfd < 0:
            return False
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return not poller.poll(0)

    def close(self) -> None:
        """Let go of everything but what the pool has taken over."""
        self.state = State.DONE
        self._close_socket()
        protocol.close_all(fd for fd in (self.pidfd, self._kernel) if fd >= 0)
        self.pidfd = self._kernel = -1

    def _close_socket(self) -> None:
        if self.sock.fileno() >= 0:
            self._hanging_up(self.sock)
            self.sock.close()


def core_is_whole(core: int) -> bool:
    """Whether the client wrote the ELF header, which it does last."""
    try:
        return core >= 0 and os.pread(core, 4, 0) == b"\x7fELF"
    except OSError:  # the disk: of no use, whatever it holds
        return False


def _peer_pidfd(sock: socket.socket) -> int:
    try:
        return peer_pidfd(sock)
    except OSError:
        return -1  # before Linux 6.5, or the peer is gone already, or no descriptor is left
