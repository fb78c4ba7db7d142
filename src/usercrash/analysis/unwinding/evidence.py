"""What a word on the stack or in a register may be believed to be.

All ways to a caller without call frame information judge their candidates here: a return address
lies in executable memory right behind a call instruction, or is where the kernel has a signal
handler return to, with its frame above it.
"""

from __future__ import annotations

from ...elf.arch import Arch
from ..core.modules import ModuleTable
from ..instructions.machine_code import MAX_TRAMPOLINE, CodeFacts
from .frames import Memory, Registers
from .signal_frames import SignalFrames

_CALL = 8  # bytes before a return address that hold its call


class Evidence:
    """Judges the addresses of one process. Without `facts` nothing is a return address."""

    def __init__(
        self, memory: Memory, modules: ModuleTable, arch: Arch, facts: CodeFacts | None
    ) -> None:
        self._memory = memory
        self._modules = modules
        self._arch = arch
        self._facts = facts
        self._signals = SignalFrames(memory, modules, arch, facts)

    def word(self, address: int) -> int | None:
        """The word in memory at an address, None where it is not known."""
        size = self._arch.word
        data = self._memory.read(address, size)
        return int.from_bytes(data, self._arch.byte_order) if len(data) == size else None

    def return_address(self, address: int) -> int | None:
        """The word at `address` if it can be a return address."""
        value = self.word(address)
        if value is None:
            return None
        known = self.is_return_address(value) or self.returns_to_kernel(address, value)
        return value if known else None

    def is_return_address(self, value: int) -> bool:
        """Whether a call instruction stands right before `value`, in executable memory."""
        return self._modules.executable(value - 1) and self.call_target(value) is not None

    def call_target(self, address: int) -> int | None:
        """Where the call before `address` leads, 0 for one through a register or memory; None
        where there is no call."""
        if self._facts is None:
            return None
        return self._facts.call_target(self._memory.read(address - _CALL, _CALL), address)

    def is_trampoline(self, value: int, sp: int) -> bool:
        """Whether a signal handler returns to `value`: the kernel's trampoline is there, and its
        signal frame, with a pc in code, at the stack pointer that the caller will have."""
        layouts = self._signals.at(value)
        blank: Registers = [None] * self._arch.slots
        found = self._signals.interrupted(layouts, blank, sp) if layouts else None
        return found is not None and self._modules.executable(found[self._arch.pc_slot] or 0)

    def returns_to_kernel(self, address: int, value: int) -> bool:
        """Whether the word at `address` is the one that a signal handler returns to: the kernel's
        signal frame is above it, with a pc in code and a stack pointer to memory."""
        arch = self._arch
        if self._facts is None or arch.link or not self._modules.executable(value):
            return False
        frames = self._facts.signal_frames_of(self._memory.read(value, MAX_TRAMPOLINE))
        places = dict(frames[0].registers) if frames else {}
        pc, sp = (
            self.word(address + arch.word + places[name]) if name in places else None
            for name in (arch.pc, arch.sp)
        )
        return (
            pc is not None
            and self._modules.executable(pc)
            and sp is not None
            and self.word(sp) is not None
        )

    def was_put_there(self, value: int) -> bool:
        """Whether a return address is one that no call has left: there is none before it, and a
        function begins there, or the one before it ended. makecontext and green threads put
        such on their new stacks."""
        known = self._facts is not None and self._modules.executable(value)
        if not known or len(self._memory.read(value - _CALL, _CALL)) < _CALL:
            return False
        return not self.is_return_address(value) and self._is_edge(value)

    def may_be_edge(self, pc: int) -> bool:
        """Whether call frame information begins or ends at `pc`, as far as such is found at
        once: compilers and C libraries lay functions at multiples of 16 bytes."""
        return not pc & 15 and self._is_edge(pc)

    def _is_edge(self, pc: int) -> bool:
        module = self._modules.find(pc)
        frames = module.frames if module is not None else None
        return module is not None and frames is not None and frames.is_edge(pc - module.bias)

    def function(self, pc: int) -> int | None:
        """Where the function around `pc` begins, by the symbol table."""
        module = self._modules.find(pc)
        if module is None or module.elf is None:
            return None
        start = module.elf.symbols.start_of(pc - module.bias)
        return None if start is None else start + module.bias
