"""The report of a core: everything that the other modules find, put together.

Each part stands behind a guard: what a hostile or broken core breaks is missing from the
report, with a note, and the rest is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo

import msgspec

from .. import __version__, report
from ..elf.arch import PROGRAMS, arch_of
from .core.core_threads import CoreThread
from .core.image import CoreImage
from .core.module_memory import ModuleMemory
from .core.modules import ModuleTable
from .core.places import Places, StackOwner
from .explain.cause import explain
from .explain.last_words import abort_message
from .explain.null_member import KINDS as NULLS
from .explain.null_member import with_null_member
from .explain.scene import Scene, mapped_file
from .facts.allocators import fills
from .facts.open_files import open_files
from .facts.process import build_event, build_process, build_system, thread_name
from .facts.signals import to_report
from .facts.texts import Texts, safe
from .guard import Guard
from .instructions import disassembly
from .instructions.decoded import Decoded
from .instructions.machine_code import code_facts
from .limits import AssembleLimits
from .packages import finder
from .packages.finder import find_packages
from .packages.package import Package
from .report_parts import lists
from .report_parts.conclusions import with_fingerprint, with_waits
from .report_parts.identity import identity_of, signal_of
from .report_parts.interpreters import Interpreters
from .report_parts.stacks import StackNamer
from .report_parts.surroundings import Surroundings
from .report_parts.threads import Threads
from .report_parts.variables import Scene as VariableScene
from .report_parts.variables import Variables
from .symbols.bindings import Bindings
from .symbols.perf_map import read_perf_map
from .symbols.symbolizer import Symbolizer
from .symbols.tail_calls import TailCalls
from .variables.nulls import NullPointer

SIGABRT = 6
# By Arch.name: the register with the address of the thread control block
_TCB = {"x86_64": "fs_base", "x32": "fs_base", "i386": "gs_base"}


def preload() -> None:
    """Imports what else would be imported while a report of this machine's programs is made."""
    for kind in PROGRAMS.get(os.uname().machine, ())[:1]:
        if (arch := arch_of(*kind)) is not None:
            disassembly.preload(arch)
            code_facts(arch)
    finder.preload()


def assemble(
    image: CoreImage,
    modules: ModuleTable,
    symbolizer: Symbolizer,
    crash_id: str,
    limits: AssembleLimits | None = None,
    zone: tzinfo = UTC,
    took: Callable[[str, float], None] | None = None,
) -> report.Report:
    """The report of a core image, its modules and their symbols.

    `crash_id` becomes `Report.id`; times are given in `zone`. Never raises for what the
    process or the core holds; `complete` is false where a part failed. `took` is told how long each
    part took: what it is, and seconds (of parts within a part, too).
    """
    work = _Assembly(image, modules, symbolizer, limits or AssembleLimits(), zone, took)
    return work.run(crash_id)


class _Assembly:
    """One report being made."""

    def __init__(
        self,
        image: CoreImage,
        modules: ModuleTable,
        symbolizer: Symbolizer,
        limits: AssembleLimits,
        zone: tzinfo,
        took: Callable[[str, float], None] | None,
    ) -> None:
        self.guard = Guard(image.notes, took)
        self.image = image
        self.modules = modules
        self.symbolizer = symbolizer
        self.limits = limits
        self.zone = zone
        self.arch = image.arch
        self.facts = image.facts
        self.notes = image.notes
        self.texts = Texts(self.notes)
        self.memory = ModuleMemory(image, modules)
        self.namer = StackNamer(
            modules, symbolizer, self.texts, limits.frame_bytes,
            TailCalls(Bindings(modules, symbolizer, self.memory.read, self.arch)),
            lambda: read_perf_map(image.event, image.facts),
        )  # fmt: skip
        self.crashing = image.threads[0]
        self.info = signal_of(image)
        self.identity = identity_of(image)
        self.places = Places(image.mappings, self._owners(), self.arch.name)
        self.interpreters = Interpreters(
            image, modules, self.memory.read, self.guard, variables=limits.variables
        )
        self.threads = Threads(
            image, modules, self.memory, self.namer, self.interpreters, self._tid,
            self.identity.pid, self.texts, limits, self.guard,
        )  # fmt: skip
        self.around = Surroundings(
            image, modules, self.memory, self.places, symbolizer, self.namer, self._decode
        )
        self.variables: Variables | None = None

    def run(self, crash_id: str) -> report.Report:
        guard, crashed = self.guard, self.info is not None
        threads: list[report.Thread] = guard(
            "threads", "the threads", lambda: self.threads.all(crashed), []
        )
        if self.limits.native_variables and threads:
            threads = guard("variables", "variables", lambda: self._variables(threads), threads)
        frames = self.threads.crashing.frames
        built = report.Report(
            version=report.VERSION,
            id=safe(crash_id, 64),
            generator=f"usercrash {__version__}",
            complete=True,
            event=build_event(self.image.event, self.zone),
            system=build_system(self.facts, self.arch, self.texts),
            process=self._process(),
            signal=self._signal(),
            cause=guard("cause", "why it died", lambda: self._cause(threads), None),
            threads=threads,
            memory=guard("memory", "memory near registers", self.around.blocks, []),
            modules=guard("modules", "the list of modules", self._modules, []),
            maps=guard("maps", "the memory map", self._maps, []),
            open_files=guard("open files", "the open files", self._open_files, []),
            code=guard("code", "code around the pc", lambda: self.around.code(frames), []),
            excerpts=guard(
                "source", "lines of the source", lambda: self.around.excerpts(threads), []
            ),
            handled_signals=[
                report.HandledSignal(frame=one.frame, signal=to_report(one.info, self.arch.name))
                for one in self.threads.handled
                if one.info.number
            ],
            notes=[],
            interpreters=self.interpreters.all(),
            log=guard("log", "the log", lambda: lists.log_lines(self.facts, self.texts), []),
        )
        return self._finish(built)

    def _finish(self, built: report.Report) -> report.Report:
        """Adds what is only known at the end: conclusions, notes, exact bytes, completeness."""
        plain = built
        built = self.guard(
            "memory", "where numbers point",
            lambda: self.around.annotated(plain, self.threads.crashing.frames), plain,
        )  # fmt: skip
        first = built
        built = self.guard("threads", "what they wait for", lambda: self._waits(first), first)
        second = built
        built = self.guard(
            "fingerprint", "what equal crashes have in common",
            lambda: with_fingerprint(second), second,
        )  # fmt: skip
        if self.namer.cut:
            self.notes.add("report", f"{self.namer.cut:,} frames", "too many to show")
        self.texts.finish()
        notes = [
            report.NoteEntry(
                stage=safe(note.stage, 64), what=safe(note.what, 512), why=safe(note.why, 512)
            )
            for note in self.notes
        ]
        return msgspec.structs.replace(
            built, notes=notes, raw_bytes=self.texts.raw, complete=self.guard.complete
        )

    def _waits(self, built: report.Report) -> report.Report:
        return with_waits(
            built, self.image.threads, self.arch, self.memory.read, self._thread_block,
            self.around.object_at,
            self.interpreters.locks(),
        )  # fmt: skip

    # --- who ---

    def _process(self) -> report.Process:
        identity = self.identity
        bare = report.Process(
            pid=identity.pid, tid=identity.tid, comm="", exe="", cmdline=[], uid=None, gid=None
        )
        return self.guard(
            "process",
            "facts of the process",
            lambda: build_process(
                self.facts, identity, self.image.event, self.texts, self.notes, self.zone
            ),
            bare,
        )

    def _owners(self) -> list[StackOwner]:
        owners = []
        for thread in self.image.threads[: self.limits.threads]:
            tid = self._tid(thread)
            name = thread_name(self.facts, tid).decode("utf-8", "backslashreplace")
            registers = thread.registers
            owners.append(
                StackOwner(
                    tid,
                    name,
                    registers.get(self.arch.sp, 0),
                    self._thread_block(thread),
                    tid == self.identity.pid,
                )
            )
        return owners

    def _thread_block(self, thread: CoreThread) -> int:
        """Where the thread's control block lies, 0 where that is not known."""
        return thread.registers.get(_TCB.get(self.arch.name, ""), 0)

    def _tid(self, thread: CoreThread) -> int:
        if thread is self.crashing:
            return self.identity.tid
        return thread.host_tid or thread.tid

    # --- variables ---

    def _variables(self, threads: list[report.Thread]) -> list[report.Thread]:
        """The threads with the variables of the first one's frames."""
        scene = VariableScene(
            self.arch,
            self.modules,
            self.memory.read,
            self.symbolizer,
            self.places,
            self.notes,
            self.crashing.floats,
        )
        variables = self.variables = Variables(scene, self.threads.crashing)
        variables.read()
        frames = variables.added(threads[0].frames)
        return [msgspec.structs.replace(threads[0], frames=frames), *threads[1:]]

    # --- why ---

    def _signal(self) -> report.Signal | None:
        if self.info is None:
            return None
        sender = self.facts.get(b"@sender_comm", b"").removesuffix(b"\n")
        comm = self.texts.text(sender, "/signal/sender/comm", 64)
        return to_report(self.info, self.arch.name, comm)

    def _cause(self, threads: list[report.Thread]) -> report.Cause:
        message = None
        if self.info is not None and self.info.number == SIGABRT:
            text = abort_message(self.modules, self.memory.read)
            if text:
                message = self.texts.text(text, "/cause/abort_message")
        scene = self._scene(message)
        found = explain(scene)
        if (variables := self.variables) is not None and found.kind in NULLS:
            nulls: list[NullPointer] = self.guard("variables", "null pointers", variables.nulls, [])
            found = with_null_member(found, scene, nulls)
        first = threads[0] if threads else None
        return _safe_cause(self.interpreters.cause(found, self._signal(), first), message)

    def _scene(self, message: str | None) -> Scene:
        sender = self.facts.get(b"@sender_comm", b"").removesuffix(b"\n")
        return Scene(
            info=self.info,
            arch=self.arch,
            registers=self.crashing.registers,
            memory=self.memory.read,
            executable=self.modules.executable,
            decode=self._decode,
            function_at=self.namer.function_at,
            places=self.places,
            frames=self.threads.crashing.frames,
            folds=self.threads.crashing.folds,
            recursion=self.threads.crashing.recursion,
            frames_total=self.threads.crashing.total,
            own_ids=self._own_ids(),
            main_thread=self.identity.tid == self.identity.pid,
            tcb=self._thread_block(self.crashing),
            limits=lists.soft_limits(self.facts),
            abort_message=message,
            sender_comm=sender.decode("utf-8", "backslashreplace"),
            handled=self.threads.handled,
            mapped_file=mapped_file(self.facts.get(b"@fault_file", b"")),
            fills=fills(
                self.facts.get(b"environ", b""), (one.path for one in self.places.mappings)
            ),
        )

    def _decode(self, registers: Mapping[str, int]) -> Decoded | None:
        values = dict(registers)
        data = self.memory.read(values.get(self.arch.pc, 0), disassembly.MAX_INSTRUCTION)
        return disassembly.decode(self.arch, data, values)

    def _own_ids(self) -> frozenset[int]:
        """The ids of the process and its threads, as the process itself sees them."""
        ids = {thread.tid for thread in self.image.threads}
        if self.image.psinfo is not None:
            ids.add(self.image.psinfo.pid)
        return frozenset(ids)

    # --- lists ---

    def _modules(self) -> list[report.Module]:
        symbolizer = self.symbolizer
        # Only now: the stacks come first.
        packages: dict[int, Package] = self.guard(
            "packages",
            "the packages of the modules",
            lambda: find_packages(
                self.modules, self.memory.read, symbolizer.places, self.notes,
                native=symbolizer.native,
            ),
            {},
        )  # fmt: skip
        return lists.modules(self.modules, symbolizer, self.texts, self.notes, packages)

    def _maps(self) -> list[report.Map]:
        fault = self.info.address if self.info else None
        points = [*self.crashing.registers.values(), *(one.sp for one in self.places.threads)]
        return lists.maps(self.image.mappings, fault, self.texts, self.notes, points)

    def _open_files(self) -> list[report.OpenFile]:
        return open_files(self.facts, self.texts, self.notes, self.arch.name)


def _safe_cause(found: report.Cause, message: str | None) -> report.Cause:
    """The same in texts of bounded length that JSON can hold, and with the abort message."""
    return report.Cause(
        kind=found.kind,
        summary=safe(found.summary, 1000),
        reason=found.reason,
        certainty=found.certainty,
        details=[safe(detail, 1000) for detail in found.details],
        abort_message=message,
        evidence=[
            report.Evidence(
                what=safe(one.what, 200),
                value=safe(one.value, 400),
                meaning=safe(one.meaning, 400),
            )
            for one in found.evidence
        ],
    )
