"""A process that the kernel is dumping into a pipe or socket.

Only the head of the stream is read: ELF header, program headers and notes. Memory
comes from /proc/PID/task/TID/mem, so that the hold does not grow with the process.
That directory is used for everything: the leader may be a zombie, whose own
/proc files are empty.
"""

from __future__ import annotations

import os
import time

from ..elf.arch import arch_of
from ..elf.headers import NT_PRSTATUS, note_places
from ..model.notes import NoteLog
from ..model.snapshot import ElfNote, ThreadState
from ..model.types import TYPE_CHECKING, Pid, Tid
from .core_stream import Head, Stream
from .identity import (
    Evidence,
    ended,
    find_thread,
    open_process,
    open_thread,
    search,
    status_of,
    threads_here,
)
from .procfs import namespace_ids, reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..elf.arch import Arch
    from ..model.event import CrashEvent


class KernelDump:
    """Target: a process that the kernel holds while we have its core stream open."""

    __slots__ = (
        "_head", "_let_go", "_mem", "_pidfd", "_stream", "_threads", "arch", "dumped", "elf_class",
        "event", "machine", "notes", "proc", "released_ns", "status",
    )  # fmt: skip

    def __init__(
        self,
        stream_fd: int,
        pidfd: int,
        event: CrashEvent,
        head: Head,
        notes: NoteLog,
        let_go: Callable[[], None] | None = None,
    ) -> None:
        self._stream = stream_fd
        self._pidfd = pidfd
        self._let_go = let_go
        self._mem = -1
        self._threads: list[ThreadState] | None = None
        self._head = head
        self.event = event
        self.machine = head.machine
        self.elf_class = head.elf_class
        self.arch: Arch | None = None
        if head.little:  # as the notes that we write
            self.arch = arch_of(head.machine, head.elf_class, "<", head.flags)
        self.notes = notes
        self.proc = -1
        self.status = b""
        self.dumped = True
        self.released_ns = 0  # CLOCK_MONOTONIC, 0 while it is held

    @classmethod
    def open(
        cls,
        stream_fd: int,
        event: CrashEvent,
        pidfd: int = -1,
        notes: NoteLog | None = None,
        seconds: float = 5.0,
        let_go: Callable[[], None] | None = None,
    ) -> KernelDump:
        """Read the head of the core stream and find the process, proved to be the one.

        Takes over both descriptors: `release()` closes them (a caller with a socket object
        passes `detach()`). Fills in `event`: pid and tid in the initial namespaces, the signal
        where it was 0. `seconds` bounds the wait for the kernel. UsercrashError when there is not
        even a process to name; everything less is a note, and `proc` is -1 if
        nothing of /proc can be believed. `release()` calls `let_go`: for a stream that others
        have open, too.
        """
        notes = NoteLog() if notes is None else notes
        process = open_process(event, pidfd, notes)
        try:
            head = Head(Stream(stream_fd, seconds), notes)
            self = cls(stream_fd, pidfd, event, head, notes, let_go)
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
        return self._head.elf_notes

    def first_notes(self) -> list[ElfNote]:
        """See Target.first_notes."""
        return self._head.first_notes()

    def threads(self) -> list[ThreadState]:
        """One for each PRSTATUS note, the crashing thread first."""
        if self._threads is None:
            self._threads = self._parse_threads()
        return self._threads

    def read(self, address: int, size: int) -> bytes:
        """See Target.read: up to the first unreadable byte."""
        if self._mem < 0 or size <= 0:
            return b""
        parts: list[bytes] = []
        while True:
            try:
                data = os.pread(self._mem, size, address)
            except (OSError, OverflowError):  # unmapped; vsyscall is above what pread can say
                break
            if len(data) == size and not parts:
                return data
            parts.append(data)
            address += len(data)
            size -= len(data)
            if not data or not size:
                break
        return b"".join(parts)

    def release(self) -> None:
        """Let the process go, and note it if it did not live until now."""
        if self._stream < 0:
            return
        killed = self._pidfd >= 0 and self.proc >= 0 and ended(self._pidfd)
        _close_stream(self._stream)
        self._stream = -1
        if self._let_go:
            self._let_go()
        self.released_ns = time.monotonic_ns()
        if killed:
            self.notes.add("process", "what was not read in time", "it was killed while held")
        for fd in (self._mem, self.proc, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._mem = self.proc = self._pidfd = -1

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
                self.proc, self.status = find_thread(
                    process, evidence, self.event.tid, prove_memory=True
                )
            if self.proc < 0:
                self._search(evidence)
        if self.proc >= 0:
            self.status = self.status or status_of(self.proc)
            if ids := namespace_ids(self.status):
                self.event.tid = Tid(ids[0])

    def _open_by_pidfd(self, process: int, evidence: Evidence) -> None:
        if process < 0:
            return
        if evidence.tid:
            self.proc, self.status = find_thread(
                process, evidence, self.event.tid, prove_memory=False
            )
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
        first = self._head.first_notes()
        for note in first:
            if note.type != NT_PRSTATUS or note.owner != b"CORE":
                continue
            if not self.event.signal:
                self.event.signal = int.from_bytes(note.desc[12:14], "little")
            if self.arch:
                try:
                    registers = self.arch.parse_prstatus(note.desc)[2]
                    pc, sp = registers[self.arch.pc], registers[self.arch.sp]
                except ValueError as error:
                    self.notes.add("threads", "first thread", str(error))
            break
        return Evidence(first, self.elf_class, pc, sp)

    def _open_memory(self) -> None:
        try:
            self._mem = os.open(b"mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
        except OSError as error:
            self.notes.add("memory", "all", reason(error))

    def _parse_threads(self) -> list[ThreadState]:
        """The first with all its registers, the others with those of Arch.parse_place."""
        arch, raw = self.arch, self._head.raw
        if arch is None:
            return []
        threads: list[ThreadState] = []
        for kind, owner, _, start, end in note_places(raw):
            if kind != NT_PRSTATUS or bytes(raw[owner : owner + 5]) != b"CORE\0":
                continue
            try:
                if threads and end - start >= arch.prstatus_size:
                    tid, registers = arch.parse_place(raw, start)
                else:
                    _, tid, registers = arch.parse_prstatus(bytes(raw[start:end]))
            except ValueError as error:
                self.notes.add("threads", "one thread", str(error))
                continue
            threads.append(ThreadState(Tid(tid), Tid(0), registers))
        if self.proc >= 0 and threads:
            here = threads_here(self.proc, self.status)
            for thread in threads:
                thread.host_tid = thread.tid if here is None else Tid(here.get(thread.tid, 0))
        return threads


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
