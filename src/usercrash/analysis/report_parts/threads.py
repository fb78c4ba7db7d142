"""The threads of a report: walked, named, with what interpreters run on them and where in the
kernel they are."""

from __future__ import annotations

import time
from collections.abc import Callable

from ... import report
from ..core.core_threads import CoreThread
from ..core.image import CoreImage
from ..core.module_memory import ModuleMemory
from ..core.modules import ModuleTable
from ..explain.handled import handled_signals
from ..explain.scene import Handled
from ..facts.process import thread_name
from ..facts.texts import Texts, json_cost, safe
from ..guard import Guard
from ..limits import AssembleLimits
from ..unwinding.frames import RawFrame
from ..unwinding.unwind import unwind
from . import lists
from .interpreters import Interpreters
from .stacks import Named, StackNamer

MAX_KERNEL_STACKS = 1 << 20  # bytes of JSON and text


class Threads:
    """Makes them. `crashing` is the stack of the first, and `handled` the signals whose handlers
    were running there, once `all` has been called. `tid_of` gives a thread's id in the report."""

    def __init__(
        self,
        image: CoreImage,
        modules: ModuleTable,
        memory: ModuleMemory,
        namer: StackNamer,
        interpreters: Interpreters,
        tid_of: Callable[[CoreThread], int],
        pid: int,
        texts: Texts,
        limits: AssembleLimits,
        guard: Guard,
    ) -> None:
        self.crashing = Named()
        self.handled: list[Handled] = []
        self._image, self._modules, self._memory = image, modules, memory
        self._namer, self._interpreters = namer, interpreters
        self._tid_of, self._pid = tid_of, pid
        self._texts, self._limits, self._guard = texts, limits, guard
        self._notes = image.notes
        self._kernel_budget = MAX_KERNEL_STACKS

    def all(self, crashed: bool) -> list[report.Thread]:
        """Those that there is room for, the first one first; it `crashed`, or the process lives."""
        threads: list[report.Thread] = []
        deadline = time.monotonic() + self._limits.seconds
        every = self._image.threads
        for number, thread in enumerate(every[: self._limits.threads]):
            late = number > 0 and time.monotonic() > deadline
            if late and threads and threads[-1].frames:
                self._notes.add("threads", f"stacks of {len(every) - number:,} threads", "no time")
            threads.append(self._thread(number, thread, late, crashed and number == 0))
        if len(every) > self._limits.threads:
            left = len(every) - self._limits.threads
            self._notes.add("threads", f"{left:,} further threads", "too many to show")
        return threads

    def _thread(self, number: int, thread: CoreThread, late: bool, crashed: bool) -> report.Thread:
        tid = self._tid_of(thread)
        named, end = Named(), "no time left"
        interpreted: list[report.InterpretedStack] = []
        if not late:
            named, end, interpreted = self._stack(number, thread)
        if number == 0:
            self._keep_crashing(thread, named)
            interpreted += self._interpreters.of_crashing(named, interpreted)
        pointer = f"/threads/{number}"
        facts, arch = self._image.facts, self._image.arch
        return report.Thread(
            tid=tid,
            name=self._texts.text(thread_name(facts, tid), f"{pointer}/name", 64),
            crashed=crashed,
            registers=lists.registers(arch, thread.registers),
            stack_end=safe(end, 200),
            frames=named.frames,
            frames_total=named.total,
            folds=named.folds,
            kernel_stack=self._kernel_stack(tid, pointer),
            state=lists.thread_state(facts, tid),
            namespace_tid=thread.tid if thread.tid not in (0, tid) else None,
            interpreted=interpreted,
        )

    def _stack(
        self, number: int, thread: CoreThread
    ) -> tuple[Named, str, list[report.InterpretedStack]]:
        """The native stack, why it ends, and the interpreters' on it."""
        limits = self._limits
        stack = unwind(
            self._memory, self._modules, self._image.arch, thread.registers,
            limits.others if number else limits.crashing,
        )  # fmt: skip
        named = self._namer.name(stack, limits.first_frames, limits.last_frames)
        interpreted = self._interpreters.of(
            thread, stack, named, self._function_of, main=self._tid_of(thread) == self._pid
        )
        return named, stack.end, interpreted

    def _function_of(self, frame: RawFrame) -> str | None:
        """The real function at a frame, not those inlined in it."""
        return self._namer.locate(frame)[1][-1].function

    def _keep_crashing(self, thread: CoreThread, named: Named) -> None:
        self.crashing = named
        arch, read = self._image.arch, self._memory.read
        self.handled = self._guard(
            "signals", "handled signals",
            lambda: handled_signals(named.raw, named.indexes, arch, thread.registers, read), [],
        )  # fmt: skip

    def _kernel_stack(self, tid: int, pointer: str) -> list[str]:
        if self._kernel_budget <= 0:
            return []
        kernel = lists.kernel_stack(self._image.facts, tid, self._texts, pointer)
        self._kernel_budget -= sum(json_cost(line) + 10 for line in kernel)
        if self._kernel_budget <= 0:
            self._notes.add("report", f"kernel stacks from thread {tid} on", "too long")
        return kernel
