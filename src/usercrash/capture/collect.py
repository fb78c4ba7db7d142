"""Everything that is taken from a process while it is held.

Most precious first: memory, then descriptors of its files, then the facts of /proc.
The caller releases the target right after. Whatever cannot be had is a note; nothing
is waited for.
"""

from __future__ import annotations

import gc
import time
from _struct import Struct

from ..elf.arch import arch_of
from ..elf.headers import ELFCLASS64, NT_AUXV, NT_SIGINFO
from ..model.snapshot import Snapshot
from ..model.types import TYPE_CHECKING, Tid
from .elf_files import ElfFiles
from .facts import Facts, system_facts
from .filesystems import FileSystems
from .link_map import exports
from .memory import Memory
from .plan import besides, plan
from .procfs import MapTable, namespace_ids, read_record, reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.notes import NoteLog
    from ..model.snapshot import ElfNote
    from .interpreters import Interpreters
    from .plan import Range
    from .runtime_files import RuntimeFiles
    from .target import Target

_FAULTS = frozenset((4, 5, 7, 8, 11))  # signals whose siginfo names an address
_SIGBUS = 7
_WITH_TEXTS = frozenset((5, 6))  # SIGTRAP, SIGABRT: of those that ended themselves
_MADE = b"xp 00000000 00:00 0"  # in lines of maps: code in no file
_SI_USER, _SI_QUEUE, _SI_TKILL, _SI_KERNEL = 0, -1, -6, 128
_SIGINFO = Struct("<iii")  # si_signo, si_errno, si_code
_FIELDS = {8: 16, 4: 12}  # where the rest of it begins, by the size of an address


class Limits:
    """Bounds of one capture: bytes, counts, and seconds while the process is held. `variables`: the
    values of an interpreter's local variables are taken, too; where that was not known in time,
    `ask_variables` is asked, once an interpreter has been seen. With
    `facts_only` nothing is taken but registers and who it is. `step_aside` is called once it
    is let go, with the number of its threads, before anything else is done."""

    __slots__ = (
        "ask_variables", "crashing_stack", "facts_only", "max_fds_listed", "max_files", "max_maps",
        "max_memory", "max_threads_named", "other_stack", "seconds", "step_aside", "variables",
    )  # fmt: skip

    def __init__(
        self,
        *,
        max_memory: int = 64 << 20,
        crashing_stack: int = 16 << 20,
        other_stack: int = 256 << 10,
        max_maps: int = 16 << 20,
        max_files: int = 1000,
        max_fds_listed: int = 5000,
        max_threads_named: int = 5000,
        seconds: float = 5.0,
        facts_only: bool = False,
        variables: bool = False,
        step_aside: Callable[[int], None] | None = None,
    ) -> None:
        self.max_memory = max_memory
        self.crashing_stack = crashing_stack
        self.other_stack = other_stack
        self.max_maps = max_maps
        self.max_files = max_files
        self.max_fds_listed = max_fds_listed
        self.max_threads_named = max_threads_named
        self.seconds = seconds
        self.facts_only = facts_only
        self.variables = variables
        self.ask_variables: Callable[[], bool] | None = None
        self.step_aside = step_aside


def collect(
    target: Target, limits: Limits | None = None, *, release_early: bool = False
) -> Snapshot:
    """The snapshot of a target, which is let go as soon as all is taken.

    With `release_early` it is let go as soon as its memory and files are there, and the
    rest of /proc is read while it runs on: only for one that lives.
    Descriptors in `files` belong to the caller. Never raises for what the process is
    or does; a process that could not be proved gives its notes only.
    """
    counted = gc.isenabled()
    gc.disable()  # all that is made here stays: looking for garbage costs a third of the time
    try:
        return _snapshot(target, limits or Limits(), release_early)
    finally:
        if counted:
            gc.enable()


def _snapshot(target: Target, limits: Limits, release_early: bool) -> Snapshot:
    deadline = time.monotonic() + limits.seconds
    snapshot = Snapshot(
        target.event, target.machine, target.elf_class, [], [], {}, [], target.notes
    )
    capture = None
    if target.proc >= 0:
        capture = _Capture(target, limits, deadline, snapshot)
        capture.run(release_early)
    target.release()
    if limits.step_aside:
        limits.step_aside(len(target.threads()))
    # Nobody waits from here on: what was taken is put in order.
    if capture:
        capture.read_runtime_files()
        capture.keep_interpreter()
    snapshot.elf_notes = target.elf_notes()
    if capture:
        from .pieces import joined

        snapshot.loads = joined(capture.pieces, capture.maps)
    snapshot.facts.update(system_facts(target.notes))
    if not target.event.boot_id:
        target.event.boot_id = snapshot.facts.get(b"@boot_id", b"")
    return snapshot


class _Capture:
    """One capture, in stages that do not bring each other down."""

    def __init__(self, target: Target, limits: Limits, deadline: float, snapshot: Snapshot) -> None:
        self._target = target
        self._limits = limits
        self._deadline = deadline
        self._snapshot = snapshot
        self._arch = arch_of(target.machine, target.elf_class)
        self.maps = MapTable(b"")
        self.pieces: list[tuple[int, bytes]] = []
        self._runtime_files: RuntimeFiles | None = None
        self._interpreters: Interpreters | None = None

    def run(self, release_early: bool) -> None:
        """All stages. A mistake of ours in one, or a watch that ends one that hangs, is
        a note and costs that stage only: nobody can crash the process for us again."""
        try:
            self._facts = Facts(self._target, self._limits, self._deadline)
        except OSError as error:
            self._target.notes.add("process", "its facts", reason(error))
            return
        self._snapshot.facts = self._facts.table
        try:
            self._try(self._identity)
            if self._limits.facts_only:
                self._try(self._facts.who)
                self._target.notes.add(
                    "capture", "memory and files", "the queue of crashes is full"
                )
            else:
                self._take_all(release_early)
            self._facts.alive()
        finally:
            self._facts.close()

    def _take_all(self, release_early: bool) -> None:
        if looked := self._try(self._look):
            for stage in (
                self._take_memory, self._made_code, self._interpreter, self._open_files,
                self._lost_files, self._strings,
            ):  # fmt: skip
                self._try(stage)
            self._memory.close()
        if release_early:
            self._target.release()
        self._try(self._facts.process)
        self._try(self._facts.descriptors)
        if looked:
            self._try(self._other_threads)
            self._try(self._file_of_fault)
            self._try(self._find_runtime_files)

    def _try(self, stage: Callable[[], None]) -> bool:
        try:
            stage()
        except Exception as error:
            name = stage.__name__.strip("_").replace("_", " ")
            self._target.notes.add("capture", name, f"{type(error).__name__}: {error}")
            return False
        return True

    def _identity(self) -> None:
        event = self._target.event
        self._facts.identity()
        if not event.tid:
            event.tid = Tid(self._facts.tid)

    def _look(self) -> None:
        """What there is to take: mappings, threads, what the notes tell of the crash."""
        target = self._target
        maps = MapTable(self._facts.maps())
        self._notes = target.first_notes()
        self._threads = target.threads()
        self._systems = FileSystems(target.proc)
        self._memory = Memory(
            target.read, target.proc, maps, self._systems, target.notes, len(self._threads)
        )
        self.maps = maps

    def _take_memory(self) -> None:
        limits = self._limits
        ranges = plan(
            self._threads, self.maps, self._auxv(), self._memory.read, self._arch,
            limits.crashing_stack, limits.other_stack, fault=self._fault_address(),
            texts=self._signal_number() in _WITH_TEXTS,
        )  # fmt: skip
        self.pieces = take(
            self._memory, ranges, limits.max_memory, self._deadline, self._target.notes
        )

    def _made_code(self) -> None:
        maps = self._facts.table.get(b"maps", b"")
        system = maps.count(b" [vd") + maps.count(b" [vs")  # (the vdso and vsyscall)
        if not self._arch or (maps.count(_MADE) <= system and b" /memfd:" not in maps):
            return
        if b"/libjvm.so" in maps:
            return  # its code keeps no frame pointers, and pushes return addresses without a call
        from .made_code import MAX_BYTES, made_code

        wanted = made_code(self._threads, self.maps.lines, self.pieces, self._arch)
        ranges = besides(self.pieces, wanted)
        self.pieces += take(self._memory, ranges, MAX_BYTES, self._deadline, self._target.notes)

    def _interpreter(self) -> None:
        if self._snapshot.elf_class != ELFCLASS64:
            return  # only such interpreters are known
        maps = self._facts.table.get(b"maps", b"")
        perl = b"/perl" in maps or b"/libperl.so" in maps
        python = b"python" in maps or exports(self._auxv(), self._memory.read, b"_PyRuntime")
        php = b"/php" in maps or b"/libphp" in maps
        ruby = b"/libruby" in maps or b"/ruby" in maps
        if not (python or perl or php or ruby):
            return
        from .interpreters import Interpreters

        room = self._limits.max_memory - sum(len(data) for _, data in self.pieces)
        self._interpreters = Interpreters(self._memory, self._target.notes, room)
        if perl:
            self._interpreters.look_for_perl(self.maps)
        if php:
            self._interpreters.look_for_php(self.maps)
        if ruby:
            self._interpreters.look_for_ruby(self.maps, self._threads)
        if not python:
            return
        limits = self._limits
        variables = limits.variables or (
            limits.ask_variables is not None and limits.ask_variables()
        )
        self._interpreters.look(self.maps, self._threads, variables=variables)

    def keep_interpreter(self) -> None:
        """The memory of an interpreter, put in order when the process has been let go."""
        found = self._interpreters
        if found is not None and (found.fact or found.calls):
            self.pieces += found.pieces(self.pieces)
            self._snapshot.facts.update(found.calls)
            if found.fact:
                self._snapshot.facts[b"@cpython"] = found.fact

    def _file_of_fault(self) -> None:
        """@fault_file, of a SIGBUS."""
        address = self._fault_address()
        if address is not None and self._signal_number() == _SIGBUS:
            from .fault_file import fault_file

            table = self._snapshot.facts
            fault_file(address, self._facts.tid, self.maps, self._systems, table)

    def _open_files(self) -> None:
        files = ElfFiles(
            self._target.proc, self._facts.tid, self._memory, self._systems, self._target.notes
        )
        pc = self._threads[0].registers[self._arch.pc] if self._arch and self._threads else 0
        try:
            self._snapshot.files = files.open_all(
                self.maps, pc, self._limits.max_files, self._deadline
            )
        finally:
            files.close()

    def _lost_files(self) -> None:
        """Of modules whose files could not be opened: what unwinding needs, from memory."""
        lost = [file for file in self._snapshot.files if file.fd < 0]
        if not lost:
            return
        from .unwind_tables import MAX_BYTES, unwind_tables

        ranges = besides(self.pieces, unwind_tables(self.maps, lost, self._memory.read))
        self.pieces += take(self._memory, ranges, MAX_BYTES, self._deadline, self._target.notes)

    def _strings(self) -> None:
        self._facts.strings(self._memory)

    def _other_threads(self) -> None:
        namespaced = len(namespace_ids(self._facts.table.get(b"status", b""))) > 1
        self._facts.threads(self._threads, namespaced)
        self._sender(namespaced)

    def _find_runtime_files(self) -> None:
        """What the process's runtime may have written of itself: few have such files."""
        maps = self._facts.table.get(b"maps", b"")
        if b"/libjvm.so" in maps or b"node" in maps or self._facts.elsewhere():
            from .runtime_files import RuntimeFiles

            self._runtime_files = RuntimeFiles(self._facts, self._target.notes, self._try)
            self._runtime_files.find()

    def read_runtime_files(self) -> None:
        """To be called when the process has been let go."""
        if self._runtime_files is not None:
            self._runtime_files.read()

    def _auxv(self) -> dict[int, int]:
        """The auxiliary vector as AT_* to value."""
        data = _note_of(self._notes, NT_AUXV)
        pair = Struct("<QQ" if self._snapshot.elf_class == ELFCLASS64 else "<II")
        return dict(pair.iter_unpack(data[: len(data) // pair.size * pair.size]))

    def _fault_address(self) -> int | None:
        """si_addr, for signals of the processor (siginfo_t, <asm-generic/siginfo.h>)."""
        data = self._siginfo()
        if not data:
            return None
        number, _, code = _SIGINFO.unpack_from(data)
        if number not in _FAULTS or not 0 < code < _SI_KERNEL:
            return None
        long = 4 * self._snapshot.elf_class
        return int.from_bytes(data[_FIELDS[long] : _FIELDS[long] + long], "little")

    def _sender(self, namespaced: bool) -> None:
        """@sender_comm: the name of the process that sent the signal, if it still lives. Its
        number is of the receiver's namespace: with another than ours it names nobody here."""
        data = self._siginfo()
        if not data or namespaced:
            return
        _, _, code = _SIGINFO.unpack_from(data)
        start = _FIELDS[4 * self._snapshot.elf_class]
        pid = int.from_bytes(data[start : start + 4], "little")
        if code not in (_SI_USER, _SI_QUEUE, _SI_TKILL) or pid in (0, self._target.event.pid):
            return
        notes, table = self._target.notes, self._facts.table
        try:
            table[b"@sender_comm"] = read_record(None, b"/proc/%d/comm" % pid, 64).rstrip(b"\n")
        except OSError as error:
            notes.add("signal", f"name of its sender, process {pid}", reason(error))

    def _signal_number(self) -> int:
        return int.from_bytes(self._siginfo()[:4], "little")

    def _siginfo(self) -> bytes:
        """The siginfo_t, empty where there is none."""
        data = _note_of(self._notes, NT_SIGINFO)
        return data if len(data) >= 24 and self._snapshot.elf_class in (1, 2) else b""


def take(
    memory: Memory, ranges: list[Range], budget: int, deadline: float, notes: NoteLog
) -> list[tuple[int, bytes]]:
    """The memory of `ranges`, which are in order of worth, until `budget` bytes are full, as
    (address, bytes); gaps are absent."""
    taken: list[tuple[int, bytes]] = []
    total = 0
    for number, (address, size, purpose) in enumerate(ranges):
        why = "no time left" if time.monotonic() > deadline else ""
        for piece in memory.pieces(address, size):
            taken.append(piece)
            total += len(piece[1])
            if total >= budget:
                why = f"{budget} bytes are as many as we keep"
                break
        if why:
            notes.add("memory", f"{len(ranges) - number} pieces, from {purpose} on", why)
            break
    return taken


def _note_of(notes: list[ElfNote], kind: int) -> bytes:
    for note in notes:
        if note.type == kind and note.owner == b"CORE":
            return note.desc
    return b""
