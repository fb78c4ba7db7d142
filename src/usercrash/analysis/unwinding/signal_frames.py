"""Past the kernel's signal frame: where the pc stands at a trampoline that ends a handler."""

from __future__ import annotations

from ...elf.arch import Arch
from ..core.modules import ModuleTable
from ..dwarf.cfi import Row
from ..instructions.machine_code import MAX_TRAMPOLINE, CodeFacts, SignalFrame
from .frames import Memory, Registers


class SignalFrames:
    """Finds and reads the signal frames of one stack."""

    def __init__(
        self, memory: Memory, modules: ModuleTable, arch: Arch, facts: CodeFacts | None
    ) -> None:
        self._memory = memory
        self._modules = modules
        self._arch = arch
        self._facts = facts

    def at(self, pc: int, row: Row | None = None) -> list[SignalFrame]:
        """The signal frames whose trampoline is at `pc` (which may lie on the stack), if its
        call frame information, `row`, does not tell. Where a call leaves its return address
        in a register, `row` may be that of the function before."""
        if self._facts is None:
            return []
        told = row is not None and (row.signal_frame or not self._arch.link)
        if told and not self._facts.sigcontext_first:
            return []
        return self._facts.signal_frames_of(self._memory.read(pc, MAX_TRAMPOLINE))

    def interrupted(
        self, layouts: list[SignalFrame], registers: Registers, sp: int
    ) -> Registers | None:
        """The interrupted frame's registers (by Arch.numbers), by the kernel's signal frame at the
        stack pointer: of several layouts the first that has a pc in executable memory, else the
        first. None where there is no memory of it."""
        found = [self._read(layout, registers, sp) for layout in layouts]
        whole = [registers for registers in found if registers is not None]
        executable, pc = self._modules.executable, self._arch.pc_slot
        return next((one for one in whole if executable(one[pc] or 0)), next(iter(whole), None))

    def _read(self, frame: SignalFrame, registers: Registers, sp: int) -> Registers | None:
        numbers, word = self._arch.numbers, self._arch.word
        new: Registers = [None] * len(registers)
        for name in self._arch.callee_saved:
            new[numbers[name]] = registers[numbers[name]]
        for name, distance in frame.registers:
            data = self._memory.read(sp + distance & self._arch.mask, word)
            if len(data) < word:
                return None
            new[numbers[name]] = int.from_bytes(data, self._arch.byte_order)
        return new
