"""The threads of a core as its notes tell of them: each NT_PRSTATUS begins one, and what follows
it, up to the next, is of that one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...elf.arch import Arch
from ...elf.headers import NT_386_TLS, NT_FPREGSET, NT_PRSTATUS, NT_SIGINFO
from ...model.event import CrashEvent
from ...model.notes import NoteLog
from ...model.snapshot import ElfNote
from .elf_notes import thread_pointer

MAX_THREADS = 100_000
_MAX_FLOATS = 4_096  # threads whose floating point registers are kept (512 bytes each)
_STAGE = "core"
_CORE_SIGNALS = frozenset((3, 4, 5, 6, 7, 8, 11, 24, 25, 31))  # those that dump core by default


@dataclass(frozen=True, slots=True)
class CoreThread:
    """A thread: `tid` in its own pid namespace, `host_tid` here (0: not known); `signal` is
    what PRSTATUS says it was stopped with; registers by the architecture's names. `floats` is the
    NT_FPREGSET of one of the first threads."""

    tid: int
    host_tid: int
    signal: int
    registers: dict[str, int]
    siginfo: bytes = b""
    floats: bytes = b""


class ThreadNotes:
    """Takes the notes in their order, then gives the threads; `notes` is told what of them could
    not be read."""

    def __init__(self, arch: Arch, notes: NoteLog) -> None:
        self._arch = arch
        self._notes = notes
        self._rows: list[tuple[int, int, dict[str, int]]] = []  # tid, signal, registers
        self._siginfos: dict[int, bytes] = {}
        self._floats: dict[int, bytes] = {}
        self._left_out = 0

    def take(self, note: ElfNote) -> bool:
        """Whether it is a note of a thread; then it is taken."""
        if note.owner == b"CORE" and note.type == NT_PRSTATUS:
            self._begin(note.desc)
        elif note.owner == b"CORE" and note.type == NT_FPREGSET:
            self._take_floats(note.desc)
        elif note.owner == b"CORE" and note.type == NT_SIGINFO:
            if not self._left_out:
                self._siginfos.setdefault(max(0, len(self._rows) - 1), note.desc)
        elif note.owner == b"LINUX" and note.type == NT_386_TLS:
            self._take_thread_pointer(note.desc)
        else:
            return False
        return True

    def _take_floats(self, desc: bytes) -> None:
        if self._rows and not self._left_out:
            self._rows[-1][2].update(self._arch.parse_floats(desc))
            if len(self._floats) < _MAX_FLOATS:
                self._floats[len(self._rows) - 1] = desc

    def _take_thread_pointer(self, desc: bytes) -> None:
        if self._rows and not self._left_out:
            registers = self._rows[-1][2]
            base = thread_pointer(desc, registers.get("gs", 0))
            if base is not None:
                registers["gs_base"] = base

    def _begin(self, desc: bytes) -> None:
        """One thread more. It counts without registers, too: what follows is of no other."""
        if len(self._rows) >= MAX_THREADS:
            self._left_out += 1
            return
        try:
            signal, tid, registers = self._arch.parse_prstatus(desc)
        except ValueError as error:
            self._notes.add(_STAGE, "a thread's registers", str(error))
            signal, tid, registers = 0, 0, {}
        self._rows.append((tid, signal, registers))

    def tids(self) -> list[int]:
        """The threads' ids in their own pid namespace, in the order of the notes."""
        return [tid for tid, _, _ in self._rows]

    def stray_siginfo(self) -> bytes:
        """The NT_SIGINFO of a core without any NT_PRSTATUS; empty where there is none."""
        return self._siginfos.get(0, b"")

    def threads(self, on_host: dict[int, int]) -> list[CoreThread]:
        """Each thread once, the crashing one in front; `on_host` gives their ids here by those in
        their own namespace.

        The kernel (and gdb since 7.3) put it first. Where the first one's siginfo says
        otherwise, it is the one whose siginfo names a signal that dumps core.
        """
        if self._left_out:
            self._notes.add(_STAGE, f"{self._left_out:,} further threads", "too many")
        infos = self._siginfos
        first = 0
        if infos and not self._dumps_core(infos.get(0, b"")):
            first = next((at for at, info in infos.items() if self._dumps_core(info)), 0)
        found = [
            CoreThread(
                tid, on_host.get(tid, 0), signal, registers, infos.get(at, b""),
                self._floats.get(at, b""),
            )
            for at, (tid, signal, registers) in enumerate(self._rows)
        ]  # fmt: skip
        if 0 < first < len(found):
            found.insert(0, found.pop(first))
        return list(_distinct(found))

    def _dumps_core(self, siginfo: bytes) -> bool:
        number = int.from_bytes(siginfo[:4], self._arch.byte_order)
        return self._arch.signals.get(number, number) in _CORE_SIGNALS


def _distinct(threads: list[CoreThread]) -> Iterator[CoreThread]:
    """Each thread once, though its notes stand there twice."""
    known: dict[int, CoreThread] = {}
    for thread in threads:
        first = known.setdefault(thread.tid, thread)
        if first is thread or not thread.tid or first.registers != thread.registers:
            yield thread


def host_tids(
    tids: list[int], facts: dict[bytes, bytes], event: CrashEvent | None
) -> dict[int, int]:
    """Own-namespace tid to host tid, from `NSpid:` of the captured status files (`facts`), and of
    the first of `tids`, the crashing one, from the event; the same ids where nothing says that the
    namespace is another."""
    found = {}
    foreign = False
    for name, text in facts.items():
        if not name.startswith(b"task/") or not name.endswith(b"/status"):
            continue
        for line in text.split(b"\n"):
            ids = line.split()[1:] if line.startswith(b"NSpid:") else []
            if ids and ids[0].isdigit() and ids[-1].isdigit():
                found[int(ids[-1])] = int(ids[0])
                foreign = foreign or len(ids) > 1
    if event is not None and tids:
        found.setdefault(tids[0], event.tid)
        foreign = foreign or event.tid not in (0, tids[0])
    if not foreign:
        for tid in tids:
            found[tid] = tid
    return found
