"""The last log lines about a process: the kernel's, and its own in the journal.

Taken after the process is let go: nothing here is in a hurry, but everything is bounded. The
journal is asked for its own word for the process id (`_PID`), which no program can choose;
the kernel's lines name it as `comm[PID]:`, and only root can write there.
"""

from __future__ import annotations

import os
import select
import time

from ..model.types import TYPE_CHECKING
from .procfs import reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.snapshot import Snapshot

KERNEL_FACT, JOURNAL_FACT = b"@log/kernel", b"@log/journal"
LINES = 50
JOURNAL_SECONDS = 2.0
CODE_LINE = b"Code: "

_KMSG = "/dev/kmsg"
_RECORD = 8192  # PRINTK_MESSAGE_MAX is 2048, and the escapes of its bytes
_MAX_RECORDS = 50_000
_JOURNALCTL = "/usr/bin/journalctl"
_JOURNAL_SOCKET = "/run/systemd/journal/socket"
_MAX_JOURNAL = 256 << 10


def add_log_tail(snapshot: Snapshot) -> None:
    """Add both tails to the snapshot's facts, where there are any; what failed is a note."""
    event = snapshot.event
    try:
        lines = kernel_lines(kernel_records(), {event.pid, event.tid})
    except PermissionError:
        lines = []  # kernel.dmesg_restrict: not for plain users, and no news to them
    except OSError as error:
        lines = []
        snapshot.notes.add("log", "the kernel's log", reason(error))
    if lines:
        snapshot.facts[KERNEL_FACT] = b"\n".join(lines)
    add_journal(snapshot)


def add_journal(snapshot: Snapshot) -> None:
    """Add what the process wrote to the journal, where one runs."""
    if has_journal():
        try:
            if text := journal_text(snapshot.event.pid):
                snapshot.facts[JOURNAL_FACT] = text
        except OSError as error:
            snapshot.notes.add("log", "the journal", reason(error))


def has_journal() -> bool:
    """Whether a journal runs here that can be asked."""
    return os.path.exists(_JOURNAL_SOCKET) and os.access(_JOURNALCTL, os.X_OK)


def kernel_records() -> list[bytes]:
    """All records of the kernel's log buffer, oldest first (/dev/kmsg, Documentation/ABI)."""
    records: list[bytes] = []
    fd = os.open(_KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while len(records) < _MAX_RECORDS:
            try:
                records.append(os.read(fd, _RECORD))
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # the next one was overwritten meanwhile: go on with what follows
    finally:
        os.close(fd)
    return records


def kernel_lines(records: Iterable[bytes], numbers: set[int]) -> list[bytes]:
    """The messages about these process and thread ids, the last LINES of them, each with the time
    since boot in seconds. A line of code bytes belongs to the fault before it."""
    marks = [b"[%d]:" % number for number in numbers if number > 0]
    found: list[bytes] = []
    belongs = False
    for record in records:
        time_us, message = parse_record(record)
        if time_us < 0:
            continue
        belongs = any(mark in message for mark in marks) or (
            belongs and message.startswith(CODE_LINE)
        )
        if belongs:
            found.append(shown(time_us, message))
    return found[-LINES:]


def parse_record(record: bytes) -> tuple[int, bytes]:
    """Time since boot in microseconds (-1 for what is no record) and message of a record."""
    head, semicolon, rest = record.partition(b";")
    fields = head.split(b",")
    if not semicolon or len(fields) < 3 or not fields[2].isdigit():
        return -1, b""
    return int(fields[2]), rest.partition(b"\n")[0]


def shown(time_us: int, message: bytes) -> bytes:
    """A message as it stands in reports."""
    return b"[%d.%06d] %s" % (*divmod(time_us, 1_000_000), message)


def journal_text(pid: int) -> bytes:
    """The last lines that the process wrote to the journal in this boot; b"" for none.

    OSError if journalctl cannot be run or takes more than JOURNAL_SECONDS.
    """
    command = [
        _JOURNALCTL, "--no-pager", "--quiet", "--boot", "--no-hostname", "--output=short-iso",
        f"--lines={LINES}", f"_PID={pid:d}",
    ]  # fmt: skip
    reader, writer = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [
            (os.POSIX_SPAWN_DUP2, null, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_DUP2, null, 2),
        ]
        child = os.posix_spawn(command[0], command, {"LC_ALL": "C.UTF-8"}, file_actions=actions)
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
        os.close(null)
    try:
        return _read_until_end(reader)
    finally:
        os.close(reader)
        _end(child)


def _read_until_end(reader: int) -> bytes:
    deadline = time.monotonic() + JOURNAL_SECONDS
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    data = bytearray()
    while len(data) < _MAX_JOURNAL:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError(110, os.strerror(110))
        piece = os.read(reader, 65536)
        if not piece:
            break
        data += piece
    return bytes(data).rstrip(b"\n")


def _end(child: int) -> None:
    """Reap it; it is killed if it still writes to a pipe that nobody reads."""
    if os.waitpid(child, os.WNOHANG)[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
