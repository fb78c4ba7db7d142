"""Finding a live process by a number that a user typed, and saying why it cannot be had."""

from __future__ import annotations

import errno
import os
import time

from ..errors import UsercrashError
from ..model.event import CrashEvent
from ..model.types import Pid, Tid
from .live_notes import ProcessIds
from .procfs import open_dir, read_at, status_field
from .ptrace import PtraceError

_PF_KTHREAD = 0x00200000  # <linux/sched.h>, in field 9 of stat
_STATUS_LIMIT = 1 << 16
_ENDED = (b"Z", b"X", b"")


def read_if_there(directory: int | None, name: bytes, limit: int = 1 << 20) -> bytes:
    """The file below a /proc/PID directory; b"" if it cannot be read (process ended, no right)."""
    try:
        return read_at(directory, name, limit)
    except OSError:
        return b""  # what is missing shows in the report; here only its absence counts


def status_number(status: bytes, key: bytes) -> int:
    """The first number of a line of `status`, 0 without it."""
    words = status_field(status, key).split()
    return int(words[0]) if words and words[0].isdigit() else 0


def printable(name: bytes) -> str:
    """A comm for a message to people: what is not printable UTF-8 is escaped."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def named(pid: int) -> str:
    """`12 (comm)`, or `12` where its comm cannot be read."""
    try:
        comm = read_at(None, b"/proc/%d/comm" % pid).removesuffix(b"\n")
    except OSError:
        return str(pid)
    return f"{pid} ({printable(comm)})"


def thread_ids(tasks: int) -> list[int]:
    """The ids in a /proc/PID/task, in the kernel's order; [] once the process is gone."""
    try:
        return [int(name) for name in os.listdir(tasks)]
    except OSError:
        return []


class Found:
    """A process with one of its threads. `proc` is a descriptor of /proc/PID/task/TID, `tasks`
    of /proc/PID/task: both stay with this process, whatever becomes of its ids."""

    __slots__ = ("event", "ids", "proc", "status", "tasks")

    def __init__(
        self, event: CrashEvent, proc: int, tasks: int, status: bytes, ids: ProcessIds
    ) -> None:
        self.event = event
        self.proc = proc
        self.tasks = tasks
        self.status = status
        self.ids = ids

    def close(self) -> None:
        """Close both descriptors; harmless when repeated."""
        for fd in (self.proc, self.tasks):
            if fd >= 0:
                os.close(fd)
        self.proc = self.tasks = -1


def find(pid: int, source: str) -> Found:
    """The process of thread `pid`, with that thread, or another if it is a leader that has ended
    before the rest of its process. UsercrashError if there is no such thread.
    """
    tasks = proc = -1
    try:
        tgid = status_number(read_at(None, b"/proc/%d/status" % pid, _STATUS_LIMIT), b"Tgid")
        tasks = open_dir(b"/proc/%d/task" % tgid)
        tid = _living_thread(tasks, pid)
        proc = open_dir(b"%d" % tid, tasks)
        status = read_at(proc, b"status", _STATUS_LIMIT)
        ids = ProcessIds(read_at(proc, b"stat"))
    except (OSError, ValueError) as error:
        for fd in (tasks, proc):
            if fd >= 0:
                os.close(fd)
        if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.ESRCH):
            raise UsercrashError(f"process {pid}: {error.strerror}") from error
        raise UsercrashError(f"there is no process {pid}") from error
    event = CrashEvent(
        source, time.time_ns(), Pid(tgid), Tid(tid), 0, boot_id=_boot_id(),
        start_ticks=ids.start_ticks,
    )  # fmt: skip
    return Found(event, proc, tasks, status, ids)


def has_ended(tasks: int, tid: int) -> bool:
    """Whether a thread is gone, or only waits for its exit status to be taken."""
    stat = read_if_there(tasks, b"%d/stat" % tid)
    return stat.rpartition(b")")[2].strip()[:1] in _ENDED


def _living_thread(tasks: int, tid: int) -> int:
    """`tid`, or the first thread that has not ended if it has."""
    for candidate in (tid, *thread_ids(tasks)):
        if not has_ended(tasks, candidate):
            return candidate
    return tid


def _boot_id() -> bytes:
    try:
        return read_at(None, b"/proc/sys/kernel/random/boot_id").strip()
    except OSError:
        return b""  # not in every container


def refuse_untraceable(found: Found) -> None:
    """UsercrashError if no tracer could ever stop it: a kernel thread, a zombie, ourselves, or
    somebody else's tracee."""
    who = f"process {found.event.pid} ({printable(found.ids.comm)})"
    if found.ids.flags & _PF_KTHREAD:
        raise UsercrashError(f"{who} is a thread of the kernel: it has no stack of its own to show")
    if found.event.pid == os.getpid():
        raise UsercrashError(f"process {found.event.pid} is this program itself")
    if found.ids.state in (b"Z", b"X"):
        raise UsercrashError(
            f"{who} is a zombie: it has ended",
            f"its parent {named(found.ids.ppid)} has not taken its exit status yet",
        )
    tracer = status_number(found.status, b"TracerPid")
    if tracer and tracer != os.getpid():
        raise UsercrashError(
            f"{who} is traced by process {named(tracer)}", "a process can have one tracer only"
        )


def why_refused(found: Found, refusal: PtraceError) -> UsercrashError:
    """Why the process could not be seized, in the words of its user."""
    who = f"process {found.event.pid} ({printable(found.ids.comm)})"
    try:
        found.status = read_at(found.proc, b"status", _STATUS_LIMIT)
        found.ids = ProcessIds(read_at(found.proc, b"stat"))
        refuse_untraceable(found)
    except (OSError, ValueError):
        return UsercrashError(f"{who} has ended")
    except UsercrashError as better:
        return better
    if refusal.errno == errno.ESRCH:
        return UsercrashError(f"{who} has ended")
    if refusal.errno != errno.EPERM:
        return UsercrashError(f"{who}: {refusal.message}")
    owner = status_number(found.status, b"Uid")
    if owner != os.getuid() and os.geteuid() != 0:
        return UsercrashError(
            f"{who} belongs to user {owner}, and you are user {os.getuid()}", "try it as root"
        )
    return UsercrashError(*_not_permitted(who))


def _not_permitted(who: str) -> tuple[str, str]:
    """The rule of the system that forbids to trace a process of the same user, and what helps."""
    setting = "/proc/sys/kernel/yama/ptrace_scope"
    try:
        scope = read_at(None, setting.encode()).strip().decode("ascii", "replace")
    except OSError:
        scope = ""  # a kernel without Yama
    if scope == "1":
        return f"{who}: only its parents may trace it", f"try it as root, or see {setting}"
    if scope in ("2", "3"):
        return f"{who}: tracing is restricted on this system", f"{setting} is {scope}"
    return (
        f"{who}: the kernel does not permit to trace it",
        "it is privileged or not dumpable, or this container forbids ptrace",
    )
