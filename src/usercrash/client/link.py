"""The client's end of the connection to the server.

Every call is bounded in time and none raises for what the server does: a server that is
absent, hung, refusing or dying is a `False`, and the client goes on alone.
Standard library only; imported before the crashed process is released.
"""

from __future__ import annotations

import _socket
import os
import select
import time

from .. import protocol
from ..capture.collect import Limits
from ..capture.procfs import status_field
from ..errors import FormatError
from ..model.minicore import files_in_order
from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model.event import CrashEvent
    from ..model.notes import NoteLog
    from ..model.snapshot import Snapshot
    from .collecting import Collected

RUN_DIRECTORY = "/run/usercrash"
REQUEST_SECONDS = 1.0
LATE_SECONDS = 0.02


class ServerLink:
    """One crash's connection. `id` (hex) is set once the server has granted it."""

    def __init__(self, run: str, event: CrashEvent, sock: _socket.socket | None = None) -> None:
        """`sock` is a connection that was made before the crash (`connect`)."""
        self.run = run
        self.key = os.urandom(16)
        self.id = ""
        self._event = event
        self._prepared = sock
        self._sock: _socket.socket | None = None
        self._deadline = time.monotonic() + REQUEST_SECONDS
        self._grant: protocol.Grant | None = None
        self._report = self._core = -1
        self.why = "no server"  # why the link is of no use, for the note

    def announce(self, kernel: int = -1) -> None:
        """Tell the server of the crash, without waiting for anything; connect before, if need be.

        `kernel` is the kernel's connection, with which the server can end a hold that we cannot.
        """
        packet = protocol.encode_announce(protocol.Announce(self._event, self.key))
        sock, self._prepared = self._prepared, None
        while self._sock is None:
            prepared = sock is not None
            try:
                sock = sock or connect(self.run)
                protocol.send(sock, packet, (kernel,) if kernel >= 0 else ())
                self._sock = sock
            except OSError as error:
                if sock is not None:
                    sock.close()
                if prepared:  # that was a server before the present one
                    sock = None
                    continue
                if not isinstance(error, FileNotFoundError):
                    self.why = f"the server did not take the event: {error.strerror}"
                return

    def released(self, facts_only: bool) -> None:
        """Tell the server that the process is free: the end of the hold that `announce` told of
        with `kernel`. `facts_only`: nothing but facts was taken."""
        if self._sock is None:
            return
        try:
            flags = protocol.FACTS_ONLY if facts_only else 0
            protocol.send(self._sock, protocol.encode_released(protocol.Released(flags)))
        except OSError as error:
            self.why = f"the server went away: {error.strerror}"
            self.close()
        # It had nothing to answer until now.
        self._deadline = time.monotonic() + REQUEST_SECONDS

    def limits(self) -> Limits | None:
        """The limits of the server's answer if that is here already; never waits."""
        self._take_answer(0.0)
        grant = self._grant
        if grant is None:
            return None
        limits = Limits()
        limits.max_memory = grant.max_memory
        limits.crashing_stack = grant.crashing_stack
        limits.other_stack = grant.other_stack
        limits.max_files = grant.max_files
        limits.seconds = grant.seconds
        limits.facts_only = bool(grant.flags & protocol.FACTS_ONLY)
        limits.variables = bool(grant.flags & protocol.VARIABLES)
        return limits

    def wants_variables(self) -> bool:
        """Whether values of an interpreter's local variables are wanted: the one limit that is
        worth to wait for, LATE_SECONDS at most, as nothing of them may be kept unasked."""
        if self._sock is not None and self._grant is None:
            answer = select.poll()
            answer.register(self._sock.fileno(), select.POLLIN)
            answer.poll(LATE_SECONDS * 1000)
        limits = self.limits()
        return limits is not None and limits.variables

    def deliver(self, found: Collected) -> bool:
        """Fill the server's files, hand over the ELF descriptors, notify.

        False where the server did not take it: the crash is still the client's to publish.
        """
        if self._sock is None:  # the backlog was full, or it is just starting: once more
            self.announce()
        self._take_answer(max(0.0, self._deadline - time.monotonic()))
        if self._sock is None or self._grant is None:
            self.close()
            return False
        snapshot = found.snapshot
        report_size = _write_report(self._report, found)
        core_size = _write_core(self._core, snapshot, found.notes) if snapshot else 0
        files = [file.fd for file in files_in_order(snapshot) if file.fd >= 0] if snapshot else []
        try:
            self._sock.settimeout(REQUEST_SECONDS)
            step = protocol.FILES_PER_PACKET
            for first in range(0, len(files), step):
                part = files[first : first + step]
                packet = protocol.encode_files(protocol.Files(first, len(part)))
                protocol.send(self._sock, packet, part)
            done = _completion(found, len(files), report_size, core_size)
            protocol.send(self._sock, protocol.encode_complete(done))
        except OSError as error:
            self.why = f"the server went away: {error.strerror or error}"
            return False
        finally:
            self.close()
        return True

    def _take_answer(self, seconds: float) -> None:
        """Receive GRANT or REFUSE within `seconds`; on anything else the link is given up."""
        if self._sock is None or self._grant is not None:
            return
        try:
            self._sock.settimeout(seconds)
            data, fds = protocol.receive(self._sock)
            packet = protocol.decode(data) if data else None
        except BlockingIOError:
            self.why = "no answer from the server in time"
            return  # not here yet, and we did not want to wait
        except (OSError, FormatError) as error:
            self.why = f"no answer from the server: {error}"
            self.close()
            return
        if isinstance(packet, protocol.Grant) and len(fds) == 2:
            self._grant = packet
            self.id = packet.id.hex()
            self._report, self._core = fds
            return
        protocol.close_all(fds)
        self.why = "the server hung up"
        if isinstance(packet, protocol.Refuse):
            self.why = f"the server refused: {packet.reason}"
        self.close()

    def close(self) -> None:
        """Hang up, and let go of the server's files."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        protocol.close_all(fd for fd in (self._report, self._core) if fd >= 0)
        self._report = self._core = -1


def connect(run: str) -> _socket.socket:
    """A connection to the server in `run`; OSError as it comes, never waits."""
    sock = _socket.socket(
        _socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    )
    try:
        sock.connect(f"{run}/{protocol.SOCKET_NAME}")
    except OSError:
        sock.close()
        raise
    return sock


def collected_text(found: Collected) -> bytes:
    """The report without names, of whatever was collected."""
    from ..capture.plain_report import plain_report
    from ..model.snapshot import Snapshot

    # Nothing captured: the same report of a snapshot in which all but the event is absent.
    empty = Snapshot(found.event, 0, 2, [], [], {}, [], found.notes)
    return plain_report(found.snapshot or empty)


def _completion(found: Collected, files: int, report: int, core: int) -> protocol.Complete:
    """The completion notice, with what was found out for the event log."""
    facts = found.snapshot.facts if found.snapshot else {}
    uids = status_field(facts.get(b"status", b""), b"Uid").split()
    return protocol.Complete(
        files, report, core, found.hold_ns, found.event.signal, found.event.tid,
        int(uids[0]) if uids else -1, facts.get(b"comm", b"").rstrip(b"\n"), facts.get(b"exe", b""),
    )  # fmt: skip


def _write_report(fd: int, found: Collected) -> int:
    """Write the report without names; gives its size, 0 if it could not be written."""
    text = collected_text(found)
    try:
        _write_at(fd, text, 0)
    except OSError as error:
        found.notes.add("client", "the collected report", str(error))
        return 0
    return len(text)


def _write_core(fd: int, snapshot: Snapshot, notes: NoteLog) -> int:
    """The minicore; gives its size, 0 if it could not be written.

    The ELF header goes last: a file that does not begin with it is not whole.
    """
    from ..elf.corewriter import write_core

    chunks = write_core(snapshot)
    try:
        position = len(chunks[0])
        for chunk in chunks[1:]:
            _write_at(fd, chunk, position)
            position += len(chunk)
        _write_at(fd, chunks[0], 0)
    except OSError as error:
        notes.add("client", "the minicore", str(error))
        os.ftruncate(fd, 0)
        return 0
    return position


def _write_at(fd: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, position)
        position += written
        view = view[written:]
