"""A process that the kernel is dumping into a pipe or socket.

Only the head of the stream is read: ELF header, program headers and notes. Memory
comes from /proc/PID/task/TID/mem, so that the hold does not grow with the process.
That directory is used for everything: the leader may be a zombie, whose own
/proc files are empty.
"""

from __future__ import annotations

import os
import select
import time

from ..elf.arch import arch_of
from ..elf.headers import (
    EHDR64,
    ELFCLASS64,
    ET_CORE,
    NT_PRSTATUS,
    PN_XNUM,
    PT_NOTE,
    ElfHeader,
    iter_notes,
    parse_program_headers,
)
from ..errors import FormatError, UsercrashError
from ..model.notes import NoteLog
from ..model.snapshot import ElfNote, ThreadState
from ..model.types import TYPE_CHECKING, Pid, Tid
from .identity import (
    Evidence,
    ended,
    find_thread,
    list_threads,
    open_thread,
    pid_of,
    search,
)
from .procfs import namespace_ids, open_dir, read_at, reason

if TYPE_CHECKING:
    from ..elf.arch import Arch
    from ..model.event import CrashEvent

HEAD_LIMIT = 64 << 20  # program headers and notes; 1,000 threads have 1.8 MB of them
_CHUNK = 1 << 20


class Stream:
    """Exact reads from the kernel's end, against one deadline.

    Nothing beyond what is asked for is taken: a small process would be let go
    when all of its core has been read. `data` keeps everything read.
    """

    __slots__ = ("_deadline", "_fd", "_poll", "data", "why")

    def __init__(self, fd: int, seconds: float) -> None:
        self._fd = fd
        self._deadline = time.monotonic() + seconds
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self.data = bytearray()
        self.why = ""  # why a read came back short

    def fill(self, size: int) -> bool:
        """Read until `data` holds `size` bytes; False if the stream ends or stalls before."""
        while len(self.data) < size:
            left = self._deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                self.why = "the kernel sent nothing more in time"
                return False
            try:
                piece = os.read(self._fd, min(size - len(self.data), _CHUNK))
            except BlockingIOError:
                continue
            except OSError as error:
                self.why = reason(error)
                return False
            if not piece:
                self.why = f"the stream ended after {len(self.data)} bytes"
                return False
            self.data += piece
        return True


class Head:
    """What the head of a core says: machine, class and notes. All soft errors go to `notes`."""

    __slots__ = ("elf_class", "elf_notes", "little", "machine")

    def __init__(self, stream: Stream, notes: NoteLog) -> None:
        self.machine = 0
        self.elf_class = 0
        self.little = True
        self.elf_notes: list[ElfNote] = []
        try:
            self._read(stream, notes)
        except FormatError as error:
            notes.add("core stream", "ELF header", error.message)

    def _read(self, stream: Stream, notes: NoteLog) -> None:
        if not stream.fill(52) or not stream.fill(64 if stream.data[4] == ELFCLASS64 else 52):
            notes.add("core stream", "ELF header", stream.why)
            return
        header = ElfHeader(bytes(stream.data))
        if header.type != ET_CORE:
            raise FormatError("not a core")
        self.machine, self.elf_class, self.little = header.machine, header.elf_class, header.little
        offset, size = self._find_notes(header, stream, notes)
        if size == 0:
            return
        end = offset + size
        if end > HEAD_LIMIT:
            notes.add("core stream", "notes", f"{size} bytes of them: more than we keep")
            end = max(HEAD_LIMIT, offset)
        if not stream.fill(end):
            notes.add("core stream", "notes", stream.why)
        self.elf_notes = list(iter_notes(memoryview(stream.data)[offset:end], self.little))

    @staticmethod
    def _find_notes(header: ElfHeader, stream: Stream, notes: NoteLog) -> tuple[int, int]:
        """Offset and size of PT_NOTE. The kernel writes its program header first, and the notes
        right after the program headers; so it is found where e_phnum overflowed, too."""
        step = 56 if header.elf_class == ELFCLASS64 else 32
        start = header.phoff
        if start > HEAD_LIMIT or not EHDR64.size >= header.phentsize >= step:
            raise FormatError("program headers in an odd place")
        count = 1 if header.phnum == PN_XNUM else header.phnum
        seen = 0
        while seen < count:
            if not stream.fill(start + (seen + 1) * header.phentsize):
                notes.add("core stream", "program headers", stream.why)
                break
            at = start + seen * header.phentsize
            row = parse_program_headers(header, bytes(stream.data[at : at + header.phentsize]), 1)
            if row and row[0].type == PT_NOTE:
                if row[0].offset < start or row[0].offset > HEAD_LIMIT:
                    raise FormatError("notes in an odd place")
                return row[0].offset, row[0].filesz
            seen += 1
        notes.add("core stream", "notes", "no PT_NOTE among the program headers")
        return 0, 0


class KernelDump:
    """Target: a process that the kernel holds while we have its core stream open."""

    __slots__ = (
        "_mem", "_notes", "_pidfd", "_stream", "_threads", "arch", "elf_class", "event",
        "machine", "notes", "proc",
    )  # fmt: skip

    def __init__(self, stream_fd: int, pidfd: int, event: CrashEvent, head: Head, notes: NoteLog):
        self._stream = stream_fd
        self._pidfd = pidfd
        self._mem = -1
        self._threads: list[ThreadState] | None = None
        self._notes = head.elf_notes
        self.event = event
        self.machine = head.machine
        self.elf_class = head.elf_class
        self.arch: Arch | None = arch_of(head.machine, head.elf_class) if head.little else None
        self.notes = notes
        self.proc = -1

    @classmethod
    def open(
        cls,
        stream_fd: int,
        event: CrashEvent,
        pidfd: int = -1,
        notes: NoteLog | None = None,
        seconds: float = 5.0,
    ) -> KernelDump:
        """Read the head of the core stream and find the process, proved to be the one.

        Takes over both descriptors: `release()` closes them (a caller with a socket object
        passes `detach()`). Fills in `event`: pid and tid in the initial namespaces, the signal
        where it was 0. `seconds` bounds the wait for the kernel. UsercrashError when there is not
        even a process to name; everything less is a note, and `proc` is -1 if
        nothing of /proc can be believed.
        """
        notes = NoteLog() if notes is None else notes
        process = _open_process(event, pidfd, notes)
        try:
            head = Head(Stream(stream_fd, seconds), notes)
            self = cls(stream_fd, pidfd, event, head, notes)
            self._prove(process)
        finally:
            if process >= 0:
                os.close(process)
        if self.arch is None and self.machine:
            what = f"ELF machine {self.machine}, class {self.elf_class}"
            notes.add("threads", what, "this architecture is not yet supported")
        if self.proc >= 0:
            self._open_memory()
        return self

    def elf_notes(self) -> list[ElfNote]:
        """The kernel's notes, as they came."""
        return self._notes

    def threads(self) -> list[ThreadState]:
        """One for each PRSTATUS note, the crashing thread first."""
        if self._threads is None:
            self._threads = self._parse_threads()
        return self._threads

    def read(self, address: int, size: int) -> bytes:
        """See Target.read: up to the first unreadable byte."""
        if self._mem < 0 or size <= 0:
            return b""
        parts = []
        while size > 0:
            try:
                data = os.pread(self._mem, size, address)
            except (OSError, OverflowError):  # unmapped; vsyscall is above what pread can say
                break
            if not data:
                break
            parts.append(data)
            address += len(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self) -> None:
        """Let the process go, and note it if it did not live until now."""
        if self._stream < 0:
            return
        if self._pidfd >= 0 and self.proc >= 0 and ended(self._pidfd):
            self.notes.add("process", "what was not read in time", "it was killed while held")
        for fd in (self._mem, self.proc, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._mem = self.proc = self._pidfd = -1
        _close_stream(self._stream)
        self._stream = -1

    def _prove(self, process: int) -> None:
        """Set `proc` to the crashing thread's directory once it is proved to be the right one."""
        evidence = self._evidence()
        if self._pidfd >= 0:
            self._open_by_pidfd(process, evidence)
        elif not evidence.complete:
            self.notes.add(
                "process", "its facts", "the core does not say enough to prove who it is"
            )
            return
        else:
            if process >= 0:
                self.proc = find_thread(process, evidence, self.event.tid, prove_memory=True)
            if self.proc < 0:
                self._search(evidence)
        if self.proc >= 0 and (ids := namespace_ids(_status(self.proc))):
            self.event.tid = Tid(ids[0])

    def _open_by_pidfd(self, process: int, evidence: Evidence) -> None:
        if process < 0:
            return
        if evidence.tid:
            self.proc = find_thread(process, evidence, self.event.tid, prove_memory=False)
        if self.proc < 0 and not ended(self._pidfd):
            # The stream told nothing, or of a thread that is gone: any thread shows the process.
            self.proc = open_thread(process, self.event.tid or self.event.pid)
            self.notes.add("process", "the crashing thread", "it cannot be told from the others")
        if self.proc < 0:
            self.notes.add("process", "its facts", "it is gone, or its crashing thread is")

    def _search(self, evidence: Evidence) -> None:
        """The number that we were given is not that of the dumped process: find it."""
        found = search(evidence)
        given = self.event.pid
        if len(found) == 1:
            pid, self.proc = found[0]
            self.event.pid = Pid(pid)
            self.event.tid = Tid(0)
            what = f"process number {given}"
            self.notes.add("process", what, f"is of another pid namespace: it is {pid} here")
            return
        for _, thread in found:
            os.close(thread)
        why = "several processes fit the core" if found else "no process here fits the core"
        self.notes.add("process", f"the facts of process {given}", why)

    def _evidence(self) -> Evidence:
        pc = sp = 0
        if self.arch and (first := self._first_prstatus()):
            try:
                registers = self.arch.parse_prstatus(first.desc)[2]
                pc, sp = registers[self.arch.pc], registers[self.arch.sp]
            except ValueError as error:
                self.notes.add("threads", "first thread", str(error))
        if (first := self._first_prstatus()) and not self.event.signal:
            self.event.signal = int.from_bytes(first.desc[12:14], "little")
        return Evidence(self._notes, self.elf_class, pc, sp)

    def _first_prstatus(self) -> ElfNote | None:
        for note in self._notes:
            if note.type == NT_PRSTATUS and note.owner == b"CORE":
                return note
        return None

    def _open_memory(self) -> None:
        try:
            self._mem = os.open(b"mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
        except OSError as error:
            self.notes.add("memory", "all", reason(error))

    def _parse_threads(self) -> list[ThreadState]:
        arch = self.arch
        if arch is None:
            return []
        threads = []
        for note in self._notes:
            if note.type == NT_PRSTATUS and note.owner == b"CORE":
                try:
                    _, tid, registers = arch.parse_prstatus(note.desc)
                except ValueError as error:
                    self.notes.add("threads", "one thread", str(error))
                    continue
                threads.append(ThreadState(Tid(tid), Tid(0), registers))
        if self.proc >= 0 and threads:
            self._name_here(threads)
        return threads

    def _name_here(self, threads: list[ThreadState]) -> None:
        """Fill in `host_tid`: the same number, unless the process has its own pid namespace."""
        if len(namespace_ids(_status(self.proc))) == 1:
            for thread in threads:
                thread.host_tid = thread.tid
            return
        here: dict[int, int] = {}
        process = open_dir(b"../..", dir_fd=self.proc)
        for tid in list_threads(process):
            ids = namespace_ids(_status(process, b"task/%d/status" % tid))
            if ids:
                here[ids[-1]] = tid
        os.close(process)
        for thread in threads:
            thread.host_tid = Tid(here.get(thread.tid, 0))


def _status(dir_fd: int, name: bytes = b"status") -> bytes:
    try:
        return read_at(dir_fd, name)
    except OSError:
        return b""  # the thread is gone: it has no number here


def _open_process(event: CrashEvent, pidfd: int, notes: NoteLog) -> int:
    """A descriptor of /proc/PID, opened before anything else; -1 (noted) if there is none.

    With a pidfd it is sure to be that process's: it was alive after the opening, so the number
    was its own.
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


def _close_stream(fd: int) -> None:
    """Close the last reader. A standard descriptor is filled with /dev/null, lest the next
    file that is opened becomes somebody's standard input."""
    if fd > 2:
        os.close(fd)
        return
    null = os.open(b"/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, fd)
    if null > 2:
        os.close(null)
