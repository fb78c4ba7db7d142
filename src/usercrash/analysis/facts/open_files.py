"""What each open descriptor is: from its link, its fdinfo and the tables of sockets.

Sources: proc_pid_fd(5), proc_pid_fdinfo(5); the socket tables as net/ipv4/tcp_ipv4.c,
net/unix/af_unix.c and their siblings print them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ... import report
from ...model.maps import split_deleted
from ...model.notes import NoteLog
from .proc_texts import number, parse_status
from .sockets import Socket, read_sockets
from .texts import Texts, json_cost

MAX_OPEN_FILES = 10_000
MAX_COST = 4 << 20
_LINK = re.compile(rb"fd/([0-9]{1,10})")
_INODE = re.compile(rb"(socket|pipe):\[([0-9]{1,20})\]")
_ANONYMOUS = re.compile(rb"anon_inode:\[?([^\]]*)\]?")
_NAMESPACE = re.compile(rb"(cgroup|ipc|mnt|net|pid|pid_for_children|time|user|uts):\[[0-9]+\]")

# <asm-generic/fcntl.h>, x86 values; fdinfo prints them in octal.
_ACCESS = {0: "read", 1: "write", 2: "read-write", 3: "no access"}
_FLAGS = (
    (0o2000, "append"), (0o4000, "nonblock"), (0o20000, "async"), (0o40000, "direct"),
    (0o4010000, "sync"), (0o10000, "dsync"), (0o2000000, "cloexec"), (0o10000000, "path"),
)  # fmt: skip
_O_DIRECT, _O_DIRECTORY, _O_PATH = 0o40000, 0o200000, 0o10000000
# By Arch.name: where these two have each other's values (arch/arm{,64}/include/uapi/asm/fcntl.h)
_SWAPPED = frozenset(("aarch64", "aarch64_be", "arm", "armeb"))
_KINDS = {
    b"eventfd": "eventfd", b"eventpoll": "epoll", b"timerfd": "timerfd", b"signalfd": "signalfd",
    b"inotify": "inotify", b"io_uring": "io_uring", b"pidfd": "pidfd", b"fanotify": "fanotify",
    b"userfaultfd": "userfaultfd", b"perf_event": "perf", b"bpf-map": "bpf", b"bpf-prog": "bpf",
    b"bpf_link": "bpf", b"kvm-vm": "kvm", b"kvm-vcpu": "kvm", b"landlock-ruleset": "landlock",
    b"sync_file": "sync_file", b"secretmem": "secretmem", b"fscontext": "fscontext",
    b"seccomp notify": "seccomp",
}  # fmt: skip
_CLOCKS = {0: "realtime", 1: "monotonic", 7: "boottime", 8: "realtime alarm", 9: "boottime alarm"}


@dataclass(frozen=True, slots=True)
class Info:
    """One fdinfo: flags (with x86's values) and position in bytes, None where absent; its other
    lines by key."""

    flags: int | None
    position: int | None
    fields: dict[bytes, bytes]
    text: bytes


def parse_fdinfo(data: bytes, machine: str = "x86_64") -> Info:
    """The fields of an fdinfo text of the machine (Arch.name) whose kernel wrote it; flags are
    octal there, and each machine's own."""
    fields = parse_status(data)
    flags = fields.get(b"flags", b"")
    valid = flags and len(flags) <= 12 and all(digit in b"01234567" for digit in flags)
    value = int(flags, 8) if valid else None
    if (
        value is not None
        and machine in _SWAPPED
        and bool(value & _O_DIRECT) != bool(value & _O_DIRECTORY)
    ):
        value ^= _O_DIRECT | _O_DIRECTORY
    return Info(value, number(fields.get(b"pos")), fields, data)


def flag_words(flags: int | None) -> str:
    """`read-write, append`; empty where not known."""
    if flags is None:
        return ""
    words = [name for bits, name in _FLAGS if flags & bits == bits]
    if flags & _O_PATH == 0:
        words.insert(0, _ACCESS[flags & 3])
    if "sync" in words and "dsync" in words:
        words.remove("dsync")
    return ", ".join(words)


def open_files(
    facts: dict[bytes, bytes], texts: Texts, notes: NoteLog, machine: str = "x86_64"
) -> list[report.OpenFile]:
    """All descriptors that the facts name, in the order of their numbers; `machine` is the
    Arch.name of the process."""
    numbers = sorted(int(m[1]) for name in facts if (m := _LINK.fullmatch(name)))
    sockets = read_sockets(facts)
    result: list[report.OpenFile] = []
    budget = MAX_COST
    for fd in numbers:
        pointer = f"/open_files/{len(result)}"
        info = parse_fdinfo(facts.get(b"fdinfo/%d" % fd, b""), machine)
        one = _open_file(fd, facts[b"fd/%d" % fd], info, sockets, texts, pointer)
        budget -= json_cost(one.target) + json_cost(one.detail) + 150
        if budget < 0 or len(result) >= MAX_OPEN_FILES:
            notes.add("report", f"{len(numbers) - len(result)} further open files", "too many")
            break
        result.append(one)
    return result


def _open_file(
    fd: int, link: bytes, info: Info, sockets: dict[int, Socket], texts: Texts, pointer: str
) -> report.OpenFile:
    target, deleted = split_deleted(link)
    kind, detail = _what(target, info, sockets)
    positioned = kind in ("file", "memfd", "directory", "device") and bool(info.position)
    return report.OpenFile(
        fd=fd,
        target=texts.text(target, pointer + "/target"),
        kind=kind,
        detail=texts.text(detail, pointer + "/detail", 512),
        deleted=deleted and kind in ("file", "directory", "memfd"),
        flags=flag_words(info.flags),
        position=info.position if positioned else None,
    )


def _what(target: bytes, info: Info, sockets: dict[int, Socket]) -> tuple[str, bytes]:
    """(kind, what there is to say about it)."""
    match = _INODE.fullmatch(target)
    if match:
        if match[1] == b"pipe":
            return "pipe", _pipe_end(info)
        socket = sockets.get(int(match[2]))
        return "socket", socket.words() if socket else b""
    if target.startswith(b"/"):
        return _path_kind(target, info), b""
    match = _ANONYMOUS.fullmatch(target)
    if match:
        kind = _KINDS.get(match[1], "anon_inode")
        return kind, _DETAILS.get(kind, _nothing)(info)
    if target.startswith(b"pidfd:"):
        return "pidfd", _pidfd(info)
    if _NAMESPACE.fullmatch(target):
        return "namespace", b""
    return "other", b""


def _path_kind(target: bytes, info: Info) -> str:
    if target.startswith(b"/memfd:"):
        return "memfd"
    if info.flags is not None and info.flags & _O_DIRECTORY:
        return "directory"
    in_dev = target.startswith(b"/dev/")
    if in_dev and not target.startswith((b"/dev/shm/", b"/dev/mqueue/", b"/dev/hugepages/")):
        return "device"
    return "file"


def _nothing(info: Info) -> bytes:
    return b""


def _pipe_end(info: Info) -> bytes:
    ends = {0: b"read end", 1: b"write end"}
    return ends.get(info.flags & 3, b"") if info.flags is not None else b""


def _eventfd(info: Info) -> bytes:
    count = info.fields.get(b"eventfd-count", b"")
    try:
        return b"count %d" % int(count[:20], 16)  # fs/eventfd.c prints %16llx
    except ValueError:
        return b""


def _epoll(info: Info) -> bytes:
    watched = [number(line.split()[1]) for line in _lines(info, b"tfd:")]
    fds = [b"%d" % fd for fd in watched if fd is not None]
    more = b" ..." if len(fds) > 20 else b""
    return b"watches %s%s" % (b" ".join(fds[:20]), more) if fds else b"watches nothing"


def _timerfd(info: Info) -> bytes:
    clock = _CLOCKS.get(number(info.fields.get(b"clockid")) or 0, "")
    parts = [clock.encode()] if clock else []
    value = _timespec(info.fields.get(b"it_value"))
    interval = _timespec(info.fields.get(b"it_interval"))
    parts.append(b"not armed" if value == b"0 s" else b"due in " + value)
    if interval not in (b"0 s", b"?"):
        parts.append(b"then every " + interval)
    ticks = number(info.fields.get(b"ticks"))
    if ticks:
        parts.append(b"%d unread" % ticks)
    return b", ".join(parts)


def _timespec(text: bytes | None) -> bytes:
    """`(0, 49406829)`, seconds and nanoseconds, as `0.0494 s`."""
    parts = (text or b"").strip(b"()").split(b",")
    numbers = [number(part) for part in parts]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return b"?"
    seconds = numbers[0] + numbers[1] / 1e9
    return b"%s s" % f"{seconds:.6g}".encode()


def _signalfd(info: Info) -> bytes:
    from .signals import signal_name

    try:
        mask = int(info.fields.get(b"sigmask", b"")[:16], 16)
    except ValueError:
        return b""
    names = [signal_name(bit + 1) for bit in range(64) if mask >> bit & 1]
    return " ".join(names).encode()


def _inotify(info: Info) -> bytes:
    count = len(_lines(info, b"inotify wd:"))
    return b"%d watch%s" % (count, b"" if count == 1 else b"es")


def _pidfd(info: Info) -> bytes:
    pid = number(info.fields.get(b"Pid"))
    if pid is None:
        return b""
    return b"process %d" % pid if pid > 0 else b"of a process that has ended"


def _lines(info: Info, start: bytes) -> list[bytes]:
    found = [line for line in info.text.split(b"\n") if line.startswith(start)]
    return [line for line in found if len(line.split()) > 1]


_DETAILS = {
    "eventfd": _eventfd,
    "epoll": _epoll,
    "timerfd": _timerfd,
    "signalfd": _signalfd,
    "inotify": _inotify,
    "pidfd": _pidfd,
}
