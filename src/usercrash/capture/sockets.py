"""The lines of /proc/PID/net that speak of a process's own sockets."""

from __future__ import annotations

import os
import time

from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model.notes import NoteLog

# File to the number of its inode column, the likeliest first (proc_pid_net(5)).
_TABLES = (
    (b"unix", 6), (b"tcp", 9), (b"tcp6", 9), (b"udp", 9), (b"udp6", 9),
    (b"netlink", 9), (b"raw", 9), (b"raw6", 9), (b"packet", 8),
)  # fmt: skip
_SECONDS = 0.05  # a busy machine has 100,000 connections; the process is held meanwhile
_BYTES = 8 << 20
_CHUNK = 64 << 10


def socket_facts(
    thread: int, inodes: set[bytes], deadline: float, notes: NoteLog
) -> dict[bytes, bytes]:
    """`@net/NAME` to the heading and the lines of the sockets whose inodes (in decimal) are given.

    `thread` is a descriptor of task/TID: its network namespace is the one that is read. Ends as
    soon as all are found, or after 50 ms or 8 MiB of a table, with a note.
    """
    facts = {}
    missing = set(inodes)
    deadline = min(deadline, time.monotonic() + _SECONDS)
    for name, column in _TABLES:
        if not missing:
            break
        lines, complete = _own_lines(thread, b"net/" + name, column, missing, deadline)
        if len(lines) > 1:
            facts[b"@net/" + name] = b"\n".join(lines) + b"\n"
        if not complete:
            what = f"{len(missing)} of {len(inodes)} sockets"
            notes.add("open files", what, f"net/{name.decode()} is too long to read through")
            break
    return facts


def _own_lines(
    thread: int, path: bytes, column: int, missing: set[bytes], deadline: float
) -> tuple[list[bytes], bool]:
    """Heading and own lines, and whether the file was read to its end (or as far as needed)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=thread)
    except OSError:
        return [], True  # this protocol is not in the kernel
    lines: list[bytes] = []
    rest, size = b"", 0
    try:
        while missing:
            if size > _BYTES or time.monotonic() > deadline:
                return lines, False
            data = os.read(fd, _CHUNK)
            if not data:
                break
            size += len(data)
            whole = (rest + data).split(b"\n")
            rest = whole.pop()
            if not lines and whole:
                lines.append(whole.pop(0))
            for line in whole:
                fields = line.split(None, column + 1)
                if len(fields) > column and fields[column] in missing:
                    missing.discard(fields[column])
                    lines.append(line)
    except OSError:
        return lines, False
    finally:
        os.close(fd)
    return lines, True
