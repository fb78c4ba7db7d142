"""Which process is it? Proof before anything of /proc is believed.

`%p` may be a number of another pid namespace, and a number may be given to a
new process while we look. What the kernel writes into the core is the truth: the
process that is dumping, whose thread bears the number of the first PRSTATUS and whose auxiliary
vector (with its random addresses) is the core's, is the one.
"""

from __future__ import annotations

import os
import select

from ..elf.headers import ELFCLASS64, NT_AUXV, NT_PRSTATUS
from ..errors import UsercrashError
from ..model.types import TYPE_CHECKING, Pid
from .procfs import namespace_ids, open_dir, read_at, read_record, stat_number, status_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model.event import CrashEvent
    from ..model.notes import NoteLog
    from ..model.snapshot import ElfNote

_MAX_PROCESSES = 100_000
_MAX_THREADS = 50_000


class Evidence:
    """What the core says of its process: the crashing thread's number in its own namespace,
    the auxiliary vector, and (0 where the architecture is unknown) its pc and sp."""

    __slots__ = ("auxv", "pc", "sp", "tid")

    def __init__(self, notes: list[ElfNote], elf_class: int, pc: int = 0, sp: int = 0) -> None:
        self.tid = 0
        self.auxv = b""
        self.pc = pc
        self.sp = sp
        # struct elf_prstatus: siginfo (12), cursig (2, padded), two longs, then pr_pid.
        offset = 32 if elf_class == ELFCLASS64 else 24
        for note in notes:
            if note.owner != b"CORE":
                continue
            if note.type == NT_PRSTATUS and not self.tid:
                self.tid = int.from_bytes(note.desc[offset : offset + 4], "little")
            elif note.type == NT_AUXV:
                self.auxv = note.desc
                break

    @property
    def complete(self) -> bool:
        """Whether it suffices to recognise a process."""
        return self.tid > 0 and len(self.auxv) >= 16

    def is_thread(self, status: bytes) -> bool:
        """Whether this `status` file is that of the crashing thread."""
        ids = namespace_ids(status)
        return bool(ids) and ids[-1] == self.tid and status_field(status, b"CoreDumping") == b"1"

    def is_memory(self, auxv: bytes) -> bool:
        """Whether /proc's auxv is the core's (for 32-bit processes the kernel's is longer)."""
        return len(self.auxv) >= 16 and auxv.startswith(self.auxv)

    def same_registers(self, thread: int) -> bool:
        """Whether the kernel shows this thread's sp and pc (fields 29 and 30) as in the core."""
        try:
            stat = read_record(thread, b"stat")
        except OSError:
            return False
        return (stat_number(stat, 29), stat_number(stat, 30)) == (self.sp, self.pc)


def ended(pidfd: int) -> bool:
    """Whether the process of a pidfd is dead: its number may belong to another by now."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def pid_of(pidfd: int) -> int:
    """The process number of a pidfd in our namespace; 0 if dead or not to be seen from here."""
    try:
        info = read_record(None, b"/proc/self/fdinfo/%d" % pidfd, 4096)
        return max(int(status_field(info, b"Pid") or b"0"), 0)
    except (OSError, ValueError):
        return 0


def open_process(event: CrashEvent, pidfd: int, notes: NoteLog) -> int:
    """A descriptor of /proc/PID, opened before anything else; -1 (noted) if there is none.

    With a pidfd it is sure to be that process's: it was alive after the opening, so the number
    was its own. UsercrashError where no process is named.
    """
    if pidfd >= 0 and (pid := pid_of(pidfd)):
        event.pid = Pid(pid)
    if event.pid <= 0:
        raise UsercrashError("the crash names no process", "usercrash_c is started by the kernel")
    try:
        process = open_dir(b"/proc/%d" % event.pid)
    except OSError:
        process = -1
    if pidfd >= 0 and (process < 0 or ended(pidfd)):
        if process >= 0:
            os.close(process)
        notes.add("process", "its facts", "it was killed before it could be read")
        return -1
    return process


def status_of(dir_fd: int, name: bytes = b"status") -> bytes:
    """A `status` file, b"" where the thread is gone: then it has no number here."""
    try:
        return read_record(dir_fd, name)
    except OSError:
        return b""


def threads_here(thread: int, status: bytes) -> dict[int, int] | None:
    """The threads' numbers in their own pid namespace to those here; None where both are the
    same. `thread` is the descriptor of one of them, `status` its file."""
    if len(namespace_ids(status)) == 1:
        return None
    here: dict[int, int] = {}
    process = open_dir(b"../..", dir_fd=thread)
    for tid in list_threads(process):
        ids = namespace_ids(status_of(process, b"task/%d/status" % tid))
        if ids:
            here[ids[-1]] = tid
    os.close(process)
    return here


def open_thread(process: int, tid: int) -> int:
    """A descriptor of task/TID beneath a process directory, -1 if there is none."""
    try:
        return open_dir(b"task/%d" % tid, dir_fd=process)
    except OSError:
        return -1


def list_threads(process: int) -> list[int]:
    """The numbers of a process's threads here; empty when it is gone."""
    try:
        tasks = open_dir(b"task", dir_fd=process)
    except OSError:
        return []
    try:
        return [int(name) for name in os.listdir(tasks)[:_MAX_THREADS] if name.isdigit()]
    except OSError:
        return []
    finally:
        os.close(tasks)


def find_thread(
    process: int, evidence: Evidence, hint: int, prove_memory: bool
) -> tuple[int, bytes]:
    """A descriptor of the crashing thread's directory beneath a process directory, or -1, and
    the thread's `status`.

    `hint` is its number here if known. `prove_memory` False leaves out the comparison
    of the auxiliary vectors (a pidfd has proved the process).
    """
    for tid in _candidates(process, hint, evidence.tid):
        thread = open_thread(process, tid)
        if thread < 0:
            continue
        try:
            status = read_record(thread, b"status")
            right = evidence.is_thread(status) and (
                not prove_memory or evidence.is_memory(read_at(thread, b"auxv", 65536))
            )
        except OSError:
            right = False
        if right:
            return thread, status
        os.close(thread)
    return -1, b""


def _candidates(process: int, hint: int, ns_tid: int) -> Iterator[int]:
    """The likely threads first, then all."""
    if hint > 0:
        yield hint
    if ns_tid > 0 and ns_tid != hint:
        yield ns_tid
    for tid in list_threads(process):
        if tid not in (hint, ns_tid):
            yield tid


def search(evidence: Evidence) -> list[tuple[int, int]]:
    """All (pid, thread directory descriptor) on this machine that the evidence fits.

    Forks that crash in two namespaces at once can share number and auxiliary vector: then
    those whose registers do not agree are left out. The caller closes the descriptors.
    """
    found = []
    for name in os.listdir(b"/proc")[:_MAX_PROCESSES]:
        if not name.isdigit():
            continue
        try:
            process = open_dir(b"/proc/" + name)
        except OSError:
            continue  # ended since it was listed
        try:
            status = read_record(process, b"status")
            # A leader that has ended shows no CoreDumping line: look at its threads.
            dumping = status_field(status, b"CoreDumping")
            zombie = status_field(status, b"State").startswith(b"Z")
            many = status_field(status, b"Threads") not in (b"", b"0", b"1")
            if dumping == b"1" or (zombie and many):
                thread, _ = find_thread(process, evidence, 0, prove_memory=True)
                if thread >= 0:
                    found.append((int(name), thread))
        except OSError:
            continue
        finally:
            os.close(process)
    if len(found) > 1 and evidence.sp:
        exact = [one for one in found if evidence.same_registers(one[1])]
        for one in found:
            if one not in exact:
                os.close(one[1])
        found = exact
    return found
