"""Where a function returns to, found by following its code to the return (x86).

For code without call frame information: from the pc on, only what changes the stack
pointer and the frame pointer is carried out, with their real values, until a `ret`. Paths are
followed past both sides of a branch and past calls. `capstone` decodes; where it is
missing nothing is found.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ...elf.arch import Arch

_MAX_INSTRUCTIONS = 3_000  # of one frame
ARCHES = ("x86_64", "i386")  # whose code is followed, by Arch.name
# Registers that a function gives back as they were, by the names of their parts; those that a
# call changes.
_SAVED = {
    "x86_64": {"rbx": "rbx", "ebx": "rbx"}
    | {f"r{number}{part}": f"r{number}" for number in range(12, 16) for part in ("", "d")},
    "i386": {f"{prefix}{name}": f"e{name}" for name in ("bx", "si", "di") for prefix in ("e", "")},
}
_CHANGED = {"x86_64": ("rax", "rcx", "rdx"), "i386": ("eax", "ecx", "edx")}

Read = Callable[[int, int], bytes]


@dataclass(slots=True)
class Returned:
    """What a `ret` does: the return address, and the registers (the stack pointer, and those that
    were popped on the way) that the caller then has. `calls` were passed over."""

    address: int
    registers: dict[str, int | None]
    calls: int


@dataclass(slots=True)
class _State:
    pc: int
    sp: int | None  # None after room of variable size was made: the frame pointer brings it back
    registers: dict[str, int | None] = field(default_factory=dict)
    calls: int = 0
    pushed: dict[int, int | str | None] = field(default_factory=dict)  # a name: as it was before

    def copy(self, pc: int) -> _State:
        return _State(pc, self.sp, dict(self.registers), self.calls, dict(self.pushed))


class CodeWalk:
    """Follows code in a process's memory; one for all its stacks, as its budget of
    instructions is for all of them (200,000: 2 s)."""

    def __init__(self, budget: int = 200_000) -> None:
        self._read: Read = lambda address, size: b""
        self._budget = budget
        self._decoder: Any = None
        self._decoded: dict[int, Any] = {}
        self._arch: Arch

    def returns(
        self, read: Read, arch: Arch, pc: int, sp: int, fp: int | None
    ) -> Iterator[Returned]:
        """The returns that code at `pc` may come to, those past the fewest calls first. `arch` is
        one of `ARCHES`, the same for all stacks."""
        self._read = read
        self._arch = arch
        decoder = self._open()
        if decoder is None:
            return
        order = count()
        first = _State(pc, sp, {arch.fp: fp})
        queue = [(0, next(order), first)]
        seen: set[int] = set()
        left = min(_MAX_INSTRUCTIONS, self._budget)
        while queue and left > 0:
            _, _, state = heapq.heappop(queue)
            while state.pc not in seen and left > 0:
                seen.add(state.pc)
                left -= 1
                self._budget -= 1
                instruction = self._decode(state.pc)
                if instruction is None:
                    break
                found = self._step(instruction, state)
                if isinstance(found, Returned):
                    yield found
                    break
                if found is None:
                    break
                for target in found[1:]:
                    other = state.copy(target)
                    heapq.heappush(queue, (other.calls, next(order), other))
                state.pc = found[0]
                if queue and queue[0][0] < state.calls:  # a path past fewer calls goes first
                    heapq.heappush(queue, (state.calls, next(order), state))
                    break

    def _open(self) -> Any:
        if self._decoder is None:
            try:
                import capstone
            except ImportError:
                return None
            mode = capstone.CS_MODE_64 if self._arch.word == 8 else capstone.CS_MODE_32
            self._decoder = capstone.Cs(capstone.CS_ARCH_X86, mode)
            self._decoder.detail = True
        return self._decoder

    def _decode(self, pc: int) -> Any:
        """The instruction at `pc`, None where there is none to be had."""
        if pc not in self._decoded:
            code = self._read(pc, 16)
            self._decoded[pc] = next(iter(self._decoder.disasm(code, pc, 1)), None)
        return self._decoded[pc]

    # --- one instruction ---

    def _step(self, instruction: Any, state: _State) -> Returned | list[int] | None:
        """Carry it out: the addresses to go on at, a return, or None for a dead end."""
        name: str = instruction.mnemonic
        operands = instruction.operands
        after: int = instruction.address + instruction.size
        if name in ("ret", "repz ret", "bnd ret", "rep ret"):
            return self._return(state, operands)
        if name.startswith(("jmp", "notrack jmp", "bnd jmp")):
            target = self._target(operands)
            return None if target is None else [target]
        if name.startswith("j") or name.startswith("loop"):
            target = self._target(operands)
            return [after] if target is None else [after, target]
        if name in ("ud2", "hlt", "int3"):
            return None
        if name.startswith(("call", "notrack call", "bnd call")):
            state.calls += 1
            for register in _CHANGED[self._arch.name]:
                state.registers.pop(register, None)
            return [after]
        return [after] if self._stack(instruction, name, operands, state) else None

    def _return(self, state: _State, operands: Any) -> Returned | None:
        if state.sp is None or state.sp in state.pushed:
            return None
        address = self._word(state.sp)
        if address is None:
            return None
        extra = operands[0].imm if operands else 0
        above = state.sp + self._arch.word + extra & self._arch.mask
        registers = {**state.registers, self._arch.sp: above}
        return Returned(address, registers, state.calls)

    def _stack(self, instruction: Any, name: str, operands: Any, state: _State) -> bool:
        """What an ordinary instruction does to the stack pointer and the frame pointer; False
        where that cannot be told."""
        arch = self._arch
        if name == "push":
            if state.sp is None:
                return True
            state.sp = state.sp - arch.word & arch.mask
            register = _register(instruction, operands[0])
            if register is not None:
                state.pushed[state.sp] = state.registers.get(register, register)
            else:
                state.pushed[state.sp] = None
            return True
        if name == "pop":
            register = _register(instruction, operands[0])
            if register is not None:
                self._pop(register, state)
            if state.sp is not None:
                state.sp = state.sp + arch.word & arch.mask
            return register != arch.sp
        if name == "leave":
            base = state.registers.get(arch.fp)
            if base is None:
                return False
            state.sp = base
            self._pop(arch.fp, state)
            state.sp = base + arch.word & arch.mask
            return True
        _, written = instruction.regs_access()
        names = {instruction.reg_name(register) for register in written}
        saved = _SAVED[arch.name]
        for register in names & saved.keys():
            state.registers[saved[register]] = None
        if names & {"rbp", "ebp", "bp"}:
            state.registers[arch.fp] = self._value(instruction, name, operands, state)
        if names & {"rsp", "esp", "sp"}:
            state.sp = self._value(instruction, name, operands, state)
        return True

    def _pop(self, register: str, state: _State) -> None:
        """The register takes what lies at the stack pointer: what was pushed there on the way,
        else what the memory holds."""
        if state.sp is None:
            state.registers[register] = None
            return
        if state.sp not in state.pushed:
            state.registers[register] = self._word(state.sp)
            return
        value = state.pushed[state.sp]
        if value == register:
            state.registers.pop(register, None)
        else:
            state.registers[register] = value if isinstance(value, int) else None

    def _value(self, instruction: Any, name: str, operands: Any, state: _State) -> int | None:
        """The value that add, sub, and, lea or mov of rsp and rbp gives; None for all else."""
        if len(operands) != 2:
            return None
        source, mask = operands[1], self._arch.mask
        known = {self._arch.sp: state.sp, self._arch.fp: state.registers.get(self._arch.fp)}
        if name == "mov":
            return known.get(_register(instruction, source) or "")
        if name == "lea":
            base = known.get(instruction.reg_name(source.mem.base) or "")
            return None if base is None or source.mem.index else base + source.mem.disp & mask
        old = known.get(_register(instruction, operands[0]) or "")
        if old is None or source.type != 2:  # X86_OP_IMM
            return None
        change: int = source.imm
        if name == "add":
            return old + change & mask
        if name == "sub":
            return old - change & mask
        return old & change & mask if name == "and" else None

    def _word(self, address: int) -> int | None:
        data = self._read(address, self._arch.word)
        return int.from_bytes(data, "little") if len(data) == self._arch.word else None

    def _target(self, operands: Any) -> int | None:
        """A branch's target where it stands in the instruction."""
        if len(operands) == 1 and operands[0].type == 2:  # X86_OP_IMM
            return int(operands[0].imm) & self._arch.mask
        return None


def _register(instruction: Any, operand: Any) -> str | None:
    """The register that an operand is, None if it is none."""
    return str(instruction.reg_name(operand.reg)) if operand.type == 1 else None  # X86_OP_REG
