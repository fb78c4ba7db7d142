"""From a thread's registers to its stack.

For each frame, in order: call frame information (`fast_steps` for rows of the common kind,
`row_steps` for the others); the signal frame's own layout where that is missing; then what
`recovery` can do, which trusts an address only if it lies in executable memory behind a call
instruction. Nothing raises for bad data: a stack ends, and says why. A wrong frame is worse than
none.
"""

from __future__ import annotations

import time
from struct import error as struct_error

from ...elf.arch import Arch
from ..core.modules import ModuleTable
from ..dwarf.cfi import Row
from ..instructions.machine_code import SignalFrame, code_facts
from .fast_steps import compile_row
from .frames import END_OF_STACK, Memory, RawFrame, Stack, Trust, UnwindLimits
from .recovery import Recovery
from .row_steps import RowSteps
from .signal_frames import SignalFrames

__all__ = ["RawFrame", "Stack", "Trust", "UnwindLimits", "unwind"]

_CHECK_TIME_EVERY = 4096
_KEPT_TAIL = 64
_MAX_BARE = 1024  # bytes of code that are searched for what its entry does not say
_MAX_SWITCHES = 256  # signal frames and changes to another stack


def unwind(
    memory: Memory,
    modules: ModuleTable,
    arch: Arch,
    registers: dict[str, int],
    limits: UnwindLimits | None = None,
) -> Stack:
    """The stack of a thread with these registers. Never raises for what the process holds."""
    return _Walk(memory, modules, arch, registers, limits or UnwindLimits()).run()


class _Walk:
    """One stack being walked. `registers` by Arch.numbers; `end` says why it stopped."""

    def __init__(
        self,
        memory: Memory,
        modules: ModuleTable,
        arch: Arch,
        registers: dict[str, int],
        limits: UnwindLimits,
    ) -> None:
        self.memory = memory
        self.modules = modules
        self.arch = arch
        self.limits = limits
        self.numbers = arch.numbers
        self.pc = arch.pc_slot
        self.sp = arch.numbers[arch.sp]
        self.registers: list[int | None] = [None] * arch.slots
        for name, value in registers.items():
            if name in self.numbers:
                self.registers[self.numbers[name]] = value
        if (pc := self.registers[self.pc]) is not None:
            self.registers[self.pc] = pc & arch.code_mask
        self.facts = code_facts(arch)
        self.signals = SignalFrames(memory, modules, arch, self.facts)
        self.row_steps = RowSteps(memory, arch)
        self.recovery = Recovery(memory, modules, arch, self.facts)
        self.evidence = self.recovery.evidence
        self.frames: list[RawFrame] = []
        self.tail: list[RawFrame] = []
        self.total = 0
        self.end = ""
        self.exact = True
        self.injected = False  # the last frame was made to look like a call where there is none
        self.trust = Trust.CONTEXT
        self.last_cfa = 0
        self.switches: set[tuple[int, int]] = set()
        self.deadline = time.monotonic() + limits.seconds

    def run(self) -> Stack:
        """Walk to the end."""
        if self.registers[self.pc] is None or self.registers[self.sp] is None:
            return Stack([], "no registers", 0, [])
        while not self.end:
            self._fast()
            if not self.end:
                self._slow()
        return Stack(self.frames, self.end, self.total, self.tail)

    # --- the common case ---

    def _fast(self) -> None:
        """Walk as long as frames are callers with fast steps already cached, their words lie in one
        piece of memory, and nothing is odd. Leaves everything else to `_slow`.

        (One function, as a call for each of a million frames would cost more than the frame.)
        """
        rows, registers, pc_slot, sp = self.modules.rows, self.registers, self.pc, self.sp
        code_mask, executable = self.arch.code_mask, self.modules.executable
        if self.exact or self.injected:
            return
        found = self.memory.window(registers[sp] or 0)
        if found is None:
            return
        start, window = found
        limit = self._chunk()
        trust = self.trust
        last_cfa = self.last_cfa
        frames: list[RawFrame] = []
        keep_registers = len(self.frames) < self.limits.registers
        new, make = frames.append, RawFrame
        empty: tuple[int | None, ...] = ()
        while len(frames) < limit:
            pc = registers[pc_slot] & code_mask  # type: ignore[operator]
            step = rows.get(pc - 1)
            if step is None and pc - 1 not in rows and executable(pc - 1):
                step = self._step(pc - 1)
                if time.monotonic() > self.deadline:  # (a row may be long work)
                    break
            if type(step) is not tuple:
                break
            register, offset, low, unpack, targets = step
            base = registers[register]
            if base is None:
                break
            cfa = base + offset
            at = cfa + low - start
            if cfa <= last_cfa or at < 0:
                break
            try:
                values = unpack(window, at)
            except (struct_error, OverflowError):
                break
            if keep_registers:
                registers[pc_slot] = pc
                new(make(pc, pc - 1, registers[sp], cfa, trust, False, tuple(registers)))  # type: ignore[arg-type]
            else:
                new(make(pc, pc - 1, registers[sp], cfa, trust, False, empty))  # type: ignore[arg-type]
            for target, value in zip(targets, values):  # noqa: B905
                registers[target] = value
            registers[sp] = cfa
            last_cfa = cfa
            trust = Trust.CFI
        if frames and self.arch.link:
            registers[self.numbers[self.arch.link]] = None  # a call has used it up (RowSteps)
        self.trust = trust
        self.last_cfa = last_cfa
        self._keep(frames)

    def _chunk(self) -> int:
        """How many frames the fast loop may take before time and numbers are looked at."""
        if len(self.frames) < self.limits.registers:
            return self.limits.registers - len(self.frames)
        return min(_CHECK_TIME_EVERY, max(1, self.limits.total - self.total))

    def _keep(self, frames: list[RawFrame]) -> None:
        self.total += len(frames)
        room = self.limits.frames - len(self.frames)
        if room >= len(frames):
            self.frames += frames
        else:
            if room > 0:
                self.frames += frames[:room]
                frames = frames[room:]
            self.tail = (self.tail + frames)[-_KEPT_TAIL:]

    # --- one frame, with everything checked ---

    def _slow(self) -> None:
        registers = self.registers
        pc, sp = registers[self.pc], registers[self.sp]
        if pc is None or sp is None:
            self.end = END_OF_STACK
            return
        pc = registers[self.pc] = pc & self.arch.code_mask
        if self._ended(pc):
            return
        exact, trust = self.exact, self.trust
        values = tuple(registers) if len(self.frames) < self.limits.registers else ()
        lookup = pc if exact or self.injected else pc - 1
        self.injected = False
        executable = self.modules.executable(lookup)
        step = self._step(lookup) if executable else None
        row = self._row(lookup) if type(step) is tuple else step
        cfa, signal = 0, False
        layouts = self.signals.at(pc, row if isinstance(row, Row) else None)
        uncalled = lookup != pc and not layouts and self.evidence.was_put_there(pc)
        if exact and self._returning(pc):
            pass
        elif uncalled:
            self.end = f"nothing was called from {pc:#x}: it was put there to return to"
        elif isinstance(row, Row) and not layouts and not self._says_nothing(row, pc, exact):
            signal, self.injected = row.signal_frame, row.injected
            found = self.row_steps.caller(row, registers, exact)
            cfa, self.end = found.cfa, found.end
            self.registers = found.registers or registers
        elif layouts:
            signal = True
            self._past_signal(layouts, sp)
        else:
            self._recover(exact, executable)
        # a trampoline's name begins at its pc: nothing was called from there
        lookup = pc if signal or uncalled else lookup
        self._keep([RawFrame(pc, lookup, sp, cfa, trust, signal, values, exact)])
        if not self.end:
            self._progress(cfa, sp, signal)

    def _says_nothing(self, row: Row, pc: int, exact: bool) -> bool:
        """Whether an entry without instructions, as assembler code may have it, is not true any
        more: a call has used the register of the return address, or a frame was made."""
        if not row.bare or not self.arch.link or row.return_column in row.rules:
            return False
        if not exact:
            return True
        module = self.modules.find(pc)
        if self.facts is None or module is None or module.frames is None:
            return False
        start = module.frames.start_by_entry(pc - module.bias)
        if start is None:
            return False
        start += module.bias
        made = self.facts.entry_frame(self.memory.read(start, min(pc - start, _MAX_BARE)))
        return made is not None and made.size > 0

    def _returning(self, pc: int) -> bool:
        """Whether the thread stands behind an instruction that has given the caller its registers
        back and jumps there after this one (SPARC); if so, go to the caller."""
        behind = self.arch.delayed
        if not behind or self.facts is None or not self.facts.returned(self.memory.read(pc - 4, 4)):
            return False
        self.registers = list(self.registers)
        self.registers[self.pc] = self.registers[self.numbers[behind]]
        self.trust = Trust.CALL_RECOVERY
        return True

    def _ended(self, pc: int) -> bool:
        """Whether the walk is over before this frame; sets `end`."""
        if pc == 0 and not self.exact:
            self.end = END_OF_STACK
        elif not self.exact and not self.modules.executable(pc - 1) and not self.signals.at(pc):
            self.end = f"return address {pc:#x} is not in executable memory"
        elif self.total >= self.limits.total:
            self.end = "frame limit"
        elif time.monotonic() > self.deadline:
            self.end = "time limit"
        return bool(self.end)

    def _step(self, lookup: int) -> object:
        """The fast step of a place, or its row where that is not common, or None where there is
        no row."""
        rows = self.modules.rows
        if lookup not in rows:
            row = self._row(lookup)
            if row is None or self.evidence.may_be_edge(lookup + 1):
                rows[lookup] = row
            else:
                rows[lookup] = compile_row(row, self.arch)
        return rows[lookup]

    def _row(self, lookup: int) -> Row | None:
        module = self.modules.find(lookup)
        if module is None or module.frames is None:
            return None
        row = module.frames.row(lookup - module.bias)
        if row is None and not self.exact:  # (no instruction of ARM begins at such an odd place)
            row = module.frames.at_call(lookup - module.bias)
        return row

    # --- without call frame information ---

    def _past_signal(self, layouts: list[SignalFrame], sp: int) -> None:
        interrupted = self.signals.interrupted(layouts, self.registers, sp)
        if interrupted is None:
            self.end = f"no memory of the signal frame at {sp:#x}"
        else:
            self.registers = interrupted
        self.trust = Trust.CONTEXT

    def _recover(self, exact: bool, executable: bool) -> None:
        found = self.recovery.caller(self.registers, exact, executable)
        if isinstance(found, str):
            self.end = found
            return
        self.registers, self.trust = found

    # --- between two frames ---

    def _progress(self, cfa: int, old_sp: int, signal: bool) -> None:
        """Stacks grow down: a caller's frame lies higher, except above a signal frame and where
        code changes to another stack; these may happen a bounded number of times. A function
        that calls none needs no stack where its return address is in a register."""
        pc, sp = self.registers[self.pc], self.registers[self.sp]
        if pc is None or sp is None:
            self.end = self.end or END_OF_STACK
            return
        leaf = self.exact and bool(self.arch.link) and sp == old_sp
        self.exact = signal
        if cfa:
            self.trust = Trust.CFI
        if not signal and (leaf or sp > max(self.last_cfa, old_sp)):
            self.last_cfa = sp
            return
        if not signal and self._same_stack(sp, old_sp):
            self.end = "loop"
            return
        if (pc, sp) in self.switches or len(self.switches) >= _MAX_SWITCHES:
            self.end = "loop"
            return
        self.switches.add((pc, sp))
        self.last_cfa = 0 if signal else sp

    def _same_stack(self, sp: int, old_sp: int) -> bool:
        """Whether two stack pointers lie in one piece of memory (or one lies in none)."""
        one, other = self.memory.window(sp), self.memory.window(old_sp)
        return one is None or other is None or one[0] == other[0]
