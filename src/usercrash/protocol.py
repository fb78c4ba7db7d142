"""The packets between client and server, on a SOCK_SEQPACKET socket.

One crash is one connection:

    client                          server
    ANNOUNCE  ──────────────────►           the event, at once
              ◄──────────────────  GRANT    id, limits; descriptors: report, minicore
              ◄──────────────────  REFUSE   (instead) why; the client goes on alone
    FILES     ──────────────────►           descriptors of mapped ELF files, ≤ 250 a packet
    COMPLETE  ──────────────────►           everything is written; the connection ends

A worker behind the kernel's socket sends the kernel's connection with its ANNOUNCE, so that the
server can end the hold if the worker hangs. The server does no more then: on a machine with two
processors its work would prolong the hold. The rest follows when the process is free:

    ANNOUNCE  ──────────────────►           with the kernel's connection
    RELEASED  ──────────────────►           the process is free
              ◄──────────────────  GRANT    and so on

`usercrash status` connects, too:

    STATUS    ──────────────────►
              ◄──────────────────  STATE    the server's state as JSON

Every packet starts with `HEADER`; integers are little-endian; a packet of another length than
its type says, or an unknown type, is a `FormatError`. Standard library only: the
cold client imports this before the crashed process is released (`_socket`, because
`socket` costs 8 ms).
"""

from __future__ import annotations

import _socket
from _struct import Struct, pack, unpack_from
from os import close

from .errors import FormatError
from .model.event import SOURCE_PIPE, SOURCE_SOCKET, CrashEvent
from .model.types import TYPE_CHECKING, Pid, Tid

if TYPE_CHECKING:
    from collections.abc import Iterable

SOCKET_NAME = "crash.sock"
MAX_PACKET = 4096
MAX_NAME = 256
# SCM_MAX_FD of the kernel is 253 (<net/scm.h>).
FILES_PER_PACKET = 250

MAX_COMM, MAX_EXE = 64, 1024

MAGIC = b"UCr2"
ANNOUNCE, GRANT, REFUSE, FILES, COMPLETE, STATUS, STATE, RELEASED = 1, 2, 3, 4, 5, 6, 7, 8

# Of GRANT and RELEASED: the queue is full, and the facts of the process are all that is wanted.
FACTS_ONLY = 1
# Of GRANT: values of an interpreter's local variables are wanted.
VARIABLES = 2

HEADER = Struct("<4sI")
# source, pid, tid, signal, dump mode, time_ns, start ticks, boot id (text), claim key,
# length of the name
_ANNOUNCE = Struct("<Iiiiiqq36s16sI")
# id; memory, crashing stack, other stack (bytes); ELF files, flags; seconds while held
_GRANT = Struct("<16sQQQIId")
_FILES = Struct("<II")  # index of the first file, how many
# files sent, signal, bytes of the report, bytes of the minicore, hold in ns, tid, uid,
# lengths of comm and exe
_COMPLETE = Struct("<IiQQQiqHH")
_RELEASED = Struct("<I")  # flags
assert (_ANNOUNCE.size, _GRANT.size, _COMPLETE.size) == (92, 56, 48)

_SOURCES = {1: SOURCE_PIPE, 2: SOURCE_SOCKET}


class Announce:
    """A crash is being collected. `key` is 16 random bytes of the collector: whoever publishes
    the crash first claims the key, so that it is never published twice."""

    __slots__ = ("event", "key")

    def __init__(self, event: CrashEvent, key: bytes) -> None:
        self.event = event
        self.key = key


class Grant:
    """The server's answer: the crash's id and the limits that hold for its capture.

    Sizes in bytes, `seconds` for the time while the process is held; `flags` of FACTS_ONLY and
    VARIABLES.
    """

    __slots__ = (
        "id", "max_memory", "crashing_stack", "other_stack", "max_files", "seconds", "flags",
    )  # fmt: skip

    def __init__(
        self,
        id: bytes,
        max_memory: int,
        crashing_stack: int,
        other_stack: int,
        max_files: int,
        seconds: float,
        flags: int = 0,
    ) -> None:
        self.id = id
        self.max_memory = max_memory
        self.crashing_stack = crashing_stack
        self.other_stack = other_stack
        self.max_files = max_files
        self.seconds = seconds
        self.flags = flags


class Released:
    """The process that was announced is free again; `flags` of FACTS_ONLY."""

    __slots__ = ("flags",)

    def __init__(self, flags: int) -> None:
        self.flags = flags


class Refuse:
    """The server cannot take this crash; `reason` is text for people."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Files:
    """The next `count` descriptors of mapped ELF files, numbered from `first`."""

    __slots__ = ("first", "count")

    def __init__(self, first: int, count: int) -> None:
        self.first = first
        self.count = count


class Complete:
    """Report and minicore are written (`core_size` 0: there is none); `hold_ns` is how long the
    client held the process, as far as it knows. Then what it found out, for the event log:
    0, -1 (`uid`) or b"" where it did not."""

    __slots__ = (
        "files", "report_size", "core_size", "hold_ns", "signal", "tid", "uid", "comm", "exe",
    )  # fmt: skip

    def __init__(
        self,
        files: int,
        report_size: int,
        core_size: int,
        hold_ns: int,
        signal: int = 0,
        tid: int = 0,
        uid: int = -1,
        comm: bytes = b"",
        exe: bytes = b"",
    ) -> None:
        self.files = files
        self.report_size = report_size
        self.core_size = core_size
        self.hold_ns = hold_ns
        self.signal = signal
        self.tid = tid
        self.uid = uid
        self.comm = comm
        self.exe = exe


class Status:
    """Somebody wants to know how the server is."""


class State:
    """How it is, as JSON (server_state.py)."""

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        self.json = json


def encode_announce(packet: Announce) -> bytes:
    event = packet.event
    name = event.name[:MAX_NAME]
    source = 2 if event.source == SOURCE_SOCKET else 1
    return (
        HEADER.pack(MAGIC, ANNOUNCE)
        + _ANNOUNCE.pack(
            source, event.pid, event.tid, event.signal, event.dump_mode, event.time_ns,
            event.start_ticks, event.boot_id[:36], packet.key, len(name),
        )
        + name
    )  # fmt: skip


def encode_grant(packet: Grant) -> bytes:
    return HEADER.pack(MAGIC, GRANT) + _GRANT.pack(
        packet.id, packet.max_memory, packet.crashing_stack, packet.other_stack,
        packet.max_files, packet.flags, packet.seconds,
    )  # fmt: skip


def encode_released(packet: Released) -> bytes:
    return HEADER.pack(MAGIC, RELEASED) + _RELEASED.pack(packet.flags)


def encode_refuse(packet: Refuse) -> bytes:
    return HEADER.pack(MAGIC, REFUSE) + packet.reason.encode()[:1024]


def encode_files(packet: Files) -> bytes:
    return HEADER.pack(MAGIC, FILES) + _FILES.pack(packet.first, packet.count)


def encode_complete(packet: Complete) -> bytes:
    comm, exe = packet.comm[:MAX_COMM], packet.exe[:MAX_EXE]
    return (
        HEADER.pack(MAGIC, COMPLETE)
        + _COMPLETE.pack(
            packet.files, packet.signal, packet.report_size, packet.core_size, packet.hold_ns,
            packet.tid, packet.uid, len(comm), len(exe),
        )
        + comm
        + exe
    )  # fmt: skip


def encode_status() -> bytes:
    return HEADER.pack(MAGIC, STATUS)


def encode_state(packet: State) -> bytes:
    """FormatError for more JSON than fits into a packet."""
    if len(packet.json) > MAX_PACKET - HEADER.size:
        raise FormatError(f"a state of {len(packet.json)} bytes")
    return HEADER.pack(MAGIC, STATE) + packet.json


def decode(
    data: bytes,
) -> Announce | Grant | Refuse | Files | Complete | Status | State | Released:
    """The packet that `data` is; FormatError says what is wrong with it."""
    if len(data) < HEADER.size:
        raise FormatError(f"packet of {len(data)} bytes")
    magic, kind = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FormatError("packet of another protocol")
    body = data[HEADER.size :]
    if kind == ANNOUNCE:
        return _decode_announce(body)
    if kind == GRANT and len(body) == _GRANT.size:
        crash_id, memory, crashing, other, files, flags, seconds = _GRANT.unpack(body)
        return Grant(crash_id, memory, crashing, other, files, seconds, flags)
    if kind == REFUSE:
        return Refuse(body.decode("utf-8", "backslashreplace"))
    if kind == FILES and len(body) == _FILES.size:
        return Files(*_FILES.unpack(body))
    if kind == COMPLETE and len(body) >= _COMPLETE.size:
        return _decode_complete(body)
    if kind == RELEASED and len(body) == _RELEASED.size:
        return Released(*_RELEASED.unpack(body))
    if kind == STATUS and not body:
        return Status()
    if kind == STATE:
        return State(body)
    raise FormatError(f"packet of type {kind} with {len(body)} bytes")


def _decode_announce(body: bytes) -> Announce:
    if len(body) < _ANNOUNCE.size:
        raise FormatError("announcement cut short")
    (source, pid, tid, signal, mode, time_ns, ticks, boot_id, key, name_size) = (
        _ANNOUNCE.unpack_from(body)
    )
    name = body[_ANNOUNCE.size :]
    if len(name) != name_size or name_size > MAX_NAME:
        raise FormatError("announcement with a name of another length than it says")
    if source not in _SOURCES or pid < 0 or tid < 0 or time_ns < 0 or ticks < 0:
        raise FormatError("announcement with impossible numbers")
    event = CrashEvent(
        _SOURCES[source], time_ns, Pid(pid), Tid(tid), signal, mode, name,
        boot_id.rstrip(b"\0"), ticks,
    )  # fmt: skip
    return Announce(event, key)


def _decode_complete(body: bytes) -> Complete:
    (sent, signal, report_size, core_size, hold_ns, tid, uid, comm_size, exe_size) = (
        _COMPLETE.unpack_from(body)
    )
    names = body[_COMPLETE.size :]
    if len(names) != comm_size + exe_size or comm_size > MAX_COMM or exe_size > MAX_EXE:
        raise FormatError("completion notice with names of other lengths than it says")
    if not 0 <= signal <= 64 or tid < 0:
        raise FormatError("completion notice with impossible numbers")
    return Complete(
        sent, report_size, core_size, hold_ns, signal, tid, uid, names[:comm_size],
        names[comm_size:],
    )  # fmt: skip


def send(sock: _socket.socket, data: bytes, fds: Iterable[int] = ()) -> None:
    """Send one packet with its descriptors; OSError as the kernel gives it."""
    numbers = list(fds)
    ancillary = []
    if numbers:
        # `array` would import collections.abc, 3 ms.
        rights = pack(f"={len(numbers)}i", *numbers)
        ancillary.append((_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights))
    # A peer that is gone must be an error here (EPIPE), never a signal.
    sock.sendmsg([data], ancillary, _socket.MSG_NOSIGNAL)


def receive(sock: _socket.socket) -> tuple[bytes, list[int]]:
    """One packet and its descriptors (close-on-exec, the caller's to close); b"" at the end.

    FormatError for a packet larger than MAX_PACKET or whose descriptors were cut;
    those that came are closed. OSError as the kernel gives it.
    """
    room = _socket.CMSG_SPACE(4 * FILES_PER_PACKET)
    data, ancillary, flags, _ = sock.recvmsg(MAX_PACKET, room, _socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            fds.extend(unpack_from(f"={len(content) // 4}i", content))
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        close_all(fds)
        raise FormatError("packet larger than the protocol allows")
    return data, fds


def close_all(fds: Iterable[int]) -> None:
    """Close each descriptor; one that is closed already is passed over."""
    for fd in fds:
        try:
            close(fd)
        except OSError:
            continue  # EBADF: nothing to do, and nothing is lost
