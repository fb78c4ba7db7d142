"""The last log lines about a process: the kernel's, and its own in the journal.

Taken after the process is let go: nothing here is in a hurry, but everything is bounded. The
journal is asked for its own word for the process id (`_PID`), which no program can choose;
the kernel's lines begin with `comm[PID]`, and only root can write there. Of an earlier process
with the same id nothing is taken: what is older than this one is left out.
"""

from __future__ import annotations

import os
import re
import select
import time

from ..model.types import TYPE_CHECKING
from .procfs import reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.snapshot import Snapshot

KERNEL_FACT, JOURNAL_FACT = b"@log/kernel", b"@log/journal"
STDERR_FACT = b"@log/stderr"  # (live/stderr_tail.py)
LINES = 50
JOURNAL_SECONDS = 2.0
CODE_LINE = b"Code: "

_KMSG = "/dev/kmsg"
_RECORD = 8192  # PRINTK_MESSAGE_MAX is 2048, and the escapes of its bytes
_MAX_RECORDS = 50_000
_JOURNALCTL = "/usr/bin/journalctl"
_JOURNAL_SOCKET = "/run/systemd/journal/socket"
_MAX_JOURNAL = 256 << 10
# `comm[PID]: …`, `traps: comm[PID] general protection …` (show_signal_msg, show_signal in
# arch/x86). A comm has at most 15 bytes of any kind, also what looks like another's id: the last
# id that can be the kernel's is.
_SUBJECT = re.compile(rb"(?:traps: )?.{0,15}\[(\d{1,10})\][: ]", re.DOTALL)
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
# The log's clock and the one of start times begin a little apart.
_CLOCKS_DIFFER_US = 2_000_000


def add_log_tail(snapshot: Snapshot) -> None:
    """Add both tails to the snapshot's facts, where there are any; what failed is a note."""
    event = snapshot.event
    try:
        since_us = -snapshot_age(snapshot) + log_clock_us()
        lines = kernel_lines(kernel_records(), {event.pid, event.tid}, since_us)
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
            since = time.time() - snapshot_age(snapshot) / 1e6
            if text := journal_text(snapshot.event.pid, since):
                snapshot.facts[JOURNAL_FACT] = text
        except OSError as error:
            snapshot.notes.add("log", "the journal", reason(error))


def snapshot_age(snapshot: Snapshot) -> int:
    """The age of a snapshot's process, as `process_age`."""
    return process_age(snapshot.facts)


def process_age(facts: dict[bytes, bytes]) -> int:
    """Microseconds, rather more than less, since the process began; what it is not known of, since
    the machine did."""
    now_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    # proc_pid_stat(5): the 22nd field, in clock ticks; the second one, in brackets, may hold any
    fields = facts.get(b"stat", b"").rpartition(b")")[2].split()
    if len(fields) < 20 or not fields[19].isdigit():
        return now_us
    start_us = int(fields[19][:18]) * 1_000_000 // os.sysconf("SC_CLK_TCK")
    return max(0, now_us - start_us) + _CLOCKS_DIFFER_US


def log_clock_us() -> int:
    """What the kernel would stamp a record with now, in microseconds, nearly."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) // 1000


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


def kernel_lines(records: Iterable[bytes], numbers: set[int], since_us: int = 0) -> list[bytes]:
    """The messages about these process and thread ids, the last LINES of them, each with the time
    since boot in seconds. A line of code bytes belongs to the fault before it."""
    found: list[bytes] = []
    belongs = False
    for record in records:
        time_us, message = parse_record(record)
        if time_us < max(0, since_us):
            continue
        named = subject(message)
        belongs = named in numbers if named else belongs and message.startswith(CODE_LINE)
        if belongs:
            found.append(shown(time_us, message))
    return found[-LINES:]


def subject(message: bytes) -> int:
    """The process or thread id that a message of the kernel is about; 0 if it names none."""
    found = _SUBJECT.match(_ESCAPE.sub(lambda one: bytes([int(one[1], 16)]), message))
    return int(found[1]) if found else 0


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


def journal_text(pid: int, since: float) -> bytes:
    """The last lines that the process wrote to the journal since then (seconds since the epoch);
    b"" for none.

    OSError if journalctl cannot be run or takes more than JOURNAL_SECONDS.
    """
    command = [
        _JOURNALCTL, "--no-pager", "--quiet", "--boot", "--no-hostname", "--output=short-iso",
        f"--lines={LINES}", f"--since=@{since:.0f}", f"_PID={pid:d}",
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
