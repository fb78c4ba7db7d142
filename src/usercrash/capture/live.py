"""A live process as a capture target: stopped through ptrace, copied, let go.

SEIZE attaches without stopping, and if we die at any moment the kernel detaches
and the process runs on. Stops are looked at, not taken (see ptrace.py), so that
signals that were on their way are delivered even then.
"""

from __future__ import annotations

import errno
import os
import signal
import time

from ..elf.headers import NT_AUXV, NT_PRSTATUS, NT_SIGINFO
from ..errors import UsercrashError
from ..model.event import SOURCE_DEBUGGER, SOURCE_RUN
from ..model.notes import NoteLog
from ..model.snapshot import ElfNote, ThreadState
from ..model.types import TYPE_CHECKING, Tid
from . import live_registers, ptrace
from .live_notes import CORE, file_note, own_auxv, prpsinfo, prstatus, siginfo_of
from .live_process import (
    Found,
    find,
    has_ended,
    read_if_there,
    refuse_untraceable,
    status_number,
    thread_ids,
    why_refused,
)  # fmt: skip
from .procfs import PAGE, MapTable, namespace_ids, read_at, reason, status_field

if TYPE_CHECKING:
    from ..elf.arch import Arch

# How long a thread may take to stop before it is left out. One in an uninterruptible
# system call (vfork's parent, a dead disk) does not stop at all.
STOP_SECONDS = 0.25
_MAX_PASSES = 100
_MAX_READ = 1 << 30
_MAX_FACT = 64 << 20
_ADDRESS_END = 1 << 63  # pread takes no larger offset; nothing readable lies above


class _Thread:
    """A thread of the process. `held`: it is stopped and ours; `pending` is the signal to pass on
    then. `registers` are None where they could not be had."""

    __slots__ = ("held", "mask", "ours", "pending", "registers", "sets", "tid")

    def __init__(self, tid: int, ours: bool) -> None:
        self.tid = tid
        self.ours = ours
        self.held = False
        self.pending = 0
        self.registers: bytes | None = None
        self.sets: list[ElfNote] = []
        self.mask = 0


class LiveTarget:
    """A stopped process (Target of capture.target). Make one with `stop` or `of_crash`."""

    def __init__(self, found: Found, notes: NoteLog) -> None:
        self.event = found.event
        self.proc = found.proc
        self.status = b""  # what was read when it ran is old now
        self.dumped = False
        self.notes = notes
        self.machine = self.elf_class = 0  # known when it stands
        self._arch: Arch
        self.pause_ns = 0  # how long it was held; known once released
        self._found = found
        self._threads: dict[int, _Thread] = {}
        self._siginfo = b""
        self._notes: list[ElfNote] | None = None
        self._of_crash = False
        self._mem = -1
        self._since_ns = 0
        self._released = False

    # -- entrances --------------------------------------------------------------------

    @classmethod
    def stop(
        cls, pid: int, source: str = SOURCE_DEBUGGER, notes: NoteLog | None = None
    ) -> LiveTarget:
        """Stop the process that `pid` (any of its threads) belongs to; that thread comes first.

        UsercrashError, in one line, if it is not there, is a kernel thread, a zombie, ourselves,
        traced by another, not ours to trace, or of an architecture that we do not know.
        """
        target = cls(find(pid, source), notes if notes is not None else NoteLog())
        try:
            refuse_untraceable(target._found)
            target._seize_and_stop()
            target._read_registers()
        except BaseException:
            target.close()
            raise
        return target

    @classmethod
    def of_crash(cls, tid: int, signal_number: int, *, at_exit: bool = False) -> LiveTarget:
        """A process that we trace already, whose thread `tid` is about to die of a signal: it
        stands at the signal's delivery, or already at its exit.

        Stops its other threads, which must be ours too. `release` lets the thread die; the
        other threads' stops are left for the caller's own wait loop, and so is `tid` itself
        when this raises.
        """
        target = cls(find(tid, SOURCE_RUN), NoteLog())
        target.event.signal = signal_number
        target._of_crash = True
        crashed = target._threads[tid] = _Thread(tid, ours=True)
        crashed.held, crashed.pending = True, 0 if at_exit else signal_number
        try:
            siginfo = b"" if at_exit else ptrace.signal_info(tid)
            target._since_ns = time.monotonic_ns()
            target._stop_new()
            target._read_registers()
            target._siginfo = siginfo_of(siginfo, target._arch.long)
        except BaseException:
            crashed.held = False
            target.close()
            raise
        if at_exit and signal_number == signal.SIGSYS and crashed.registers is not None:
            target._siginfo = live_registers.seccomp_siginfo(target._arch, crashed.registers)
        return target

    # -- stopping ---------------------------------------------------------------------

    def _seize_and_stop(self) -> None:
        first = self.event.tid
        try:
            ptrace.seize(first)
        except ptrace.PtraceError as error:
            raise why_refused(self._found, error) from error
        self._threads[first] = _Thread(first, ours=True)
        # The process whose /proc we have open, not a new one with its id?
        if not read_if_there(self.proc, b"stat"):
            raise UsercrashError(f"process {self.event.pid} has ended")
        for tid in thread_ids(self._found.tasks):
            self._adopt(tid)
        self._since_ns = time.monotonic_ns()
        self._interrupt([tid for tid, thread in self._threads.items() if thread.ours])
        self._stop_new()

    def _stop_new(self) -> None:
        """Stop the threads that we do not know yet. One that still ran may have made others:
        look until there is no new one."""
        for _ in range(_MAX_PASSES):
            new = [tid for tid in thread_ids(self._found.tasks) if self._adopt(tid)]
            if not new:
                return
            self._interrupt(new)
        self.notes.add("stop", "some threads", "the process makes them faster than they stop")

    def _adopt(self, tid: int) -> bool:
        """True if the thread is new, and ours now."""
        if tid in self._threads:
            return False
        thread = self._threads[tid] = _Thread(tid, ours=True)
        if self._of_crash:
            return True
        try:
            ptrace.seize(tid)
        except ptrace.PtraceError as error:
            thread.ours = False
            if not has_ended(self._found.tasks, tid):
                self.notes.add("stop", f"thread {tid}", os.strerror(error.errno))
        return thread.ours

    def _interrupt(self, tids: list[int]) -> None:
        asked = []
        for tid in tids:
            try:
                ptrace.interrupt(tid)
            except ptrace.PtraceError as error:
                if not isinstance(error, ptrace.ThreadGone):
                    self.notes.add("stop", f"thread {tid}", error.message)
                continue
            asked.append(tid)
        stops, silent = ptrace.wait_all(asked, STOP_SECONDS)
        for tid, stop in stops.items():
            self._threads[tid].held = not stop.exited
            self._threads[tid].pending = stop.pending_signal
            if stop.exited and not self._of_crash:
                ptrace.reap(tid)
        for tid in silent:
            self.notes.add("stop", f"thread {tid}", "it does not stop (uninterruptible wait)")

    # -- registers --------------------------------------------------------------------

    def _read_registers(self) -> None:
        held = [thread for thread in self._threads.values() if thread.held]
        for thread in held:
            self._read_thread(thread)
        self._arch = self._find_arch()
        self.machine, self.elf_class = self._arch.machine, self._arch.elf_class
        for thread in self._threads.values():
            if thread.held:
                self._read_more(thread)
            elif thread.ours and thread not in held:
                thread.registers = self._waiting_registers(thread.tid)
        if not any(thread.registers is not None for thread in self._threads.values()):
            raise UsercrashError(f"process {self.event.pid} has ended")

    def _find_arch(self) -> Arch:
        """What its program and all its registers are; UsercrashError where that is not known."""
        arches = live_registers.arches_of(read_if_there(self.proc, b"auxv", _MAX_FACT))
        sizes = {len(t.registers) for t in self._threads.values() if t.registers is not None}
        for arch in arches:
            if sizes <= {live_registers.set_size(arch)}:
                return arch
        who = f"process {self.event.pid}"
        if not arches:
            raise UsercrashError(f"{who} is a program of an architecture that we do not know")
        raise UsercrashError(f"{who} has threads that run code of another architecture")

    def _read_thread(self, thread: _Thread) -> None:
        try:
            thread.registers = live_registers.general(thread.tid)
            thread.mask = ptrace.signal_mask(thread.tid)
        except ptrace.ThreadGone:
            thread.held = False  # SIGKILL came
        except ptrace.PtraceError as error:
            self.notes.add("registers", f"thread {thread.tid}", error.message)

    def _read_more(self, thread: _Thread) -> None:
        try:
            thread.sets += live_registers.others(thread.tid, self._arch)
        except ptrace.ThreadGone:
            thread.held = False
        except ptrace.PtraceError as error:
            self.notes.add("registers", f"thread {thread.tid}", error.message)

    def _waiting_registers(self, tid: int) -> bytes | None:
        """Stack pointer and pc of a thread that waits in the kernel, the rest zero."""
        text = read_if_there(self._found.tasks, b"%d/syscall" % tid)
        registers = live_registers.waiting(text, self._arch)
        if registers is not None:
            self.notes.add("registers", f"thread {tid}", "only pc and stack pointer are known")
        return registers

    # -- what a target gives ----------------------------------------------------------

    def _ordered(self) -> list[_Thread]:
        """The threads that have registers, the crashing (or asked for) one first."""
        first = self._threads.get(self.event.tid)
        with_registers = [t for t in self._threads.values() if t.registers is not None]
        return sorted(with_registers, key=lambda thread: thread is not first)

    def _namespace_tid(self, tid: int) -> Tid:
        """The thread's id in its own pid namespace."""
        if len(namespace_ids(self._found.status)) < 2:
            return Tid(tid)
        ids = namespace_ids(read_if_there(self._found.tasks, b"%d/status" % tid))
        return Tid(ids[-1]) if ids else Tid(tid)

    def elf_notes(self) -> list[ElfNote]:
        """The notes in the kernel's layout and order, the crashing (or asked for) thread first.
        They are made when first asked for, which must be while it is held."""
        if self._notes is None:
            self._notes = []
            for number, thread in enumerate(self._ordered()):
                self._notes += self._thread_notes(thread, first=number == 0)
        return self._notes

    def first_notes(self) -> list[ElfNote]:
        """The notes of that thread and of the process."""
        notes = self.elf_notes()
        others = (n for n, note in enumerate(notes) if n and note.type == NT_PRSTATUS)
        return notes[: next(others, len(notes))]

    def _thread_notes(self, thread: _Thread, first: bool) -> list[ElfNote]:
        registers = thread.registers or b""
        tid = self._namespace_tid(thread.tid)
        ids = self._found.ids if first else None
        siginfo = self._siginfo if first else b""
        arch, number = self._arch, self.event.signal
        notes = [prstatus(arch, tid, number, siginfo, thread.mask, ids, registers)]
        if first:
            notes += self._process_notes()
        return notes + thread.sets

    def _process_notes(self) -> list[ElfNote]:
        status = self._found.status
        pids = status_field(status, b"NStgid").split()
        pid = int(pids[-1]) if pids else self.event.pid
        uid, gid = status_number(status, b"Uid"), status_number(status, b"Gid")
        # The command line lies in the process's memory, where reading may hang: the facts have it.
        long = self._arch.long
        notes = [prpsinfo(pid, self._found.ids, uid, gid, self._found.ids.comm, long)]
        if self._siginfo:
            notes.append(ElfNote(CORE, NT_SIGINFO, self._siginfo))
        notes.append(ElfNote(CORE, NT_AUXV, own_auxv(self._fact(b"auxv"), long)))
        notes.append(file_note(MapTable(self._fact(b"maps")).files(), PAGE, long))
        return notes

    def _fact(self, name: bytes) -> bytes:
        try:
            return read_at(self.proc, name, _MAX_FACT)
        except OSError as error:
            self.notes.add("process", name.decode(), reason(error))
            return b""

    def threads(self) -> list[ThreadState]:
        """Registers by name, in the order of `elf_notes`."""
        states = []
        for thread in self._ordered():
            values = live_registers.named(self._arch, thread.registers or b"")
            states.append(ThreadState(self._namespace_tid(thread.tid), Tid(thread.tid), values))
        return states

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes of its memory, cut at the first that cannot be read."""
        parts = []
        try:
            if self._mem < 0:
                if self._released:
                    return b""
                self._mem = os.open("mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
            while size > 0 and 0 <= address < _ADDRESS_END:
                part = os.pread(self._mem, min(size, _MAX_READ), address)
                if not part:
                    break
                parts.append(part)
                address += len(part)
                size -= len(part)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EFAULT):
                self.notes.add("memory", f"at {address:#x}", reason(error))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # -- letting go -------------------------------------------------------------------

    def release(self) -> None:
        """Let the process run on, each thread with the signal that was on its way to it; a
        process that was stopped stays so. Harmless when repeated."""
        held = [thread for thread in self._threads.values() if thread.held]
        self._released = True
        for thread in held:
            thread.held = False
            try:
                if not self._of_crash:
                    ptrace.detach(thread.tid, thread.pending)
                    thread.ours = False
                elif thread.tid == self.event.tid:
                    ptrace.cont(thread.tid, thread.pending)
            except ptrace.ThreadGone:
                continue  # killed meanwhile
        if held:
            self.pause_ns = time.monotonic_ns() - self._since_ns
        if self._mem >= 0:
            os.close(self._mem)
            self._mem = -1

    def close(self) -> None:
        """Release it, and close what is open of it; harmless when repeated."""
        self.release()
        self._found.close()
        self.proc = -1

    def unreleased(self) -> list[int]:
        """Threads that did not stop: they cannot be let go before they do (`release_late`), or
        until we end. [] for a crash."""
        if self._of_crash:
            return []
        return [tid for tid, thread in self._threads.items() if thread.ours]

    def release_late(self, seconds: float) -> None:
        """Wait for the threads of `unreleased`, and let go those that stop or end by then."""
        stops, _ = ptrace.wait_all(self.unreleased(), seconds)
        for tid, stop in stops.items():
            self._threads[tid].ours = False
            if not stop.exited:
                try:
                    ptrace.detach(tid, stop.pending_signal)
                except ptrace.ThreadGone:
                    continue
