"""One frame up by a row of rules, whatever they are (`fast_steps` has the common ones, compiled).

What cannot be had is None; a stack ends where that is the CFA, the return address or the stack
pointer.
"""

from __future__ import annotations

from typing import NamedTuple

from ...elf.arch import Arch
from ...errors import FormatError
from ..dwarf import cfi
from ..dwarf.cfi import Row
from ..dwarf.expression import MissingValue, evaluate
from .frames import END_OF_STACK, Memory, Registers


class Climbed(NamedTuple):
    """The caller's registers, None where `end` says why there is no caller; the `cfa` of the frame
    that was left, 0 where it is not known."""

    registers: Registers | None
    cfa: int
    end: str = ""


class RowSteps:
    """Carries out rows on the memory of one process."""

    def __init__(self, memory: Memory, arch: Arch) -> None:
        self._memory = memory
        self._arch = arch
        self._pc, self._sp = arch.pc_slot, arch.numbers[arch.sp]

    def caller(self, row: Row, registers: Registers, exact: bool) -> Climbed:
        """Up from a frame with these registers; `exact`: its pc is where the thread stood."""
        rule = row.rules.get(row.return_column)
        if rule is not None and rule[0] == cfi.UNDEFINED:
            return Climbed(None, 0, END_OF_STACK)
        try:
            cfa = self._cfa(row, registers)
        except (MissingValue, FormatError) as error:
            return Climbed(None, 0, _why(error))
        new = list(registers)
        if self._arch.cfa_is_sp:
            new[self._sp] = cfa - self._arch.stack_bias & self._arch.mask
        new[self._pc] = None
        if rule is None or rule[0] == cfi.SAME:
            if not self._still_in_link(row.return_column, registers, exact):
                why = f"no rule for the return address at {registers[self._pc]:#x}"
                return Climbed(None, cfa, why)
            new[self._pc] = registers[row.return_column]
        end = self._restore(row, registers, new, cfa)
        if new[self._sp] is None and not end:
            end = f"no value of the stack pointer above {registers[self._pc]:#x}"
        if end:
            return Climbed(None, cfa, end)
        if not row.signal_frame:
            self._after_call(new)
        return Climbed(new, cfa)

    def _cfa(self, row: Row, registers: Registers) -> int:
        if row.cfa_expression is not None:
            return self._evaluate(row.cfa_expression, registers)
        base = registers[row.cfa_register] if row.cfa_register < len(registers) else None
        if base is None:
            raise MissingValue(f"register {row.cfa_register}")
        return base + row.cfa_offset & self._arch.mask

    def _restore(self, row: Row, registers: Registers, new: Registers, cfa: int) -> str:
        """Put what the rules say of the caller's registers into `new`; why there is no return
        address, "" if there is."""
        end = ""
        for number, rule in row.rules.items():
            if rule[0] == cfi.SAME:
                if number == self._sp:  # (not the CFA, which it is without a rule)
                    new[number] = registers[number]
                continue
            target = self._pc if number == row.return_column else number
            if target < len(new):
                try:
                    new[target] = self._value(rule, registers, cfa)
                except (MissingValue, FormatError) as error:
                    new[target] = None
                    if target == self._pc:
                        end = _why(error)
        return end

    def _still_in_link(self, column: int, registers: Registers, exact: bool) -> bool:
        """Whether the return address is in the link register yet: then nothing was called since."""
        if not self._arch.link or not exact or column >= len(registers):
            return False
        return column != self._pc and registers[column] is not None

    def _after_call(self, registers: Registers) -> None:
        """A call has used the link register up; what is behind its instruction may be more than
        the return address says."""
        if self._arch.link:
            registers[self._arch.numbers[self._arch.link]] = None
        if self._arch.return_distance and (pc := registers[self._pc]):
            registers[self._pc] = pc + self._arch.return_distance & self._arch.mask

    # --- one rule ---

    def _value(self, rule: cfi.Rule, registers: Registers, cfa: int) -> int | None:
        kind, value = rule
        if isinstance(value, bytes):
            result = self._evaluate(value, registers, cfa)
            return self._word(result) if kind == cfi.EXPRESSION else result
        if kind == cfi.OFFSET:
            return self._word(cfa + value & self._arch.mask)
        if kind == cfi.VAL_OFFSET:
            return cfa + value & self._arch.mask
        if kind == cfi.REGISTER:
            return registers[value] if value < len(registers) else None
        return None  # undefined

    def _evaluate(self, expression: bytes, registers: Registers, *initial: int) -> int:
        arch = self._arch
        return evaluate(expression, registers, self._memory.read, initial, arch.long, arch.order)

    def _word(self, address: int) -> int:
        size = self._arch.word
        data = self._memory.read(address, size)
        if len(data) < size:
            raise MissingValue(f"memory at {address + len(data):#x}")
        return int.from_bytes(data, self._arch.byte_order)


def _why(error: MissingValue | FormatError) -> str:
    return f"no {error.what}" if isinstance(error, MissingValue) else error.message
