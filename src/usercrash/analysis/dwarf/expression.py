"""DWARF expressions as call frame information uses them (DWARF 5 section 2.5).

A small stack machine with a budget of steps and a bounded stack: what a hostile
file says can neither loop for long nor grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...errors import FormatError
from .encodings import Buffer, PointerBases, fixed, pointer, sleb, uleb

MAX_STEPS = 2_000
MAX_STACK = 256

ReadMemory = Callable[[int, int], bytes]

_CONSTANTS = {  # DW_OP_const1u … const8s: struct letter, size
    0x08: ("B", 1), 0x09: ("b", 1), 0x0A: ("H", 2), 0x0B: ("h", 2),
    0x0C: ("I", 4), 0x0D: ("i", 4), 0x0E: ("Q", 8), 0x0F: ("q", 8),
}  # fmt: skip


class MissingValue(Exception):
    """An expression needs a register or memory that is not known: `what` names it."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def evaluate(
    expression: Buffer,
    registers: Sequence[int | None],
    read: ReadMemory,
    initial: Sequence[int] = (),
    word: int = 8,
    order: str = "<",
) -> int:
    """The value on top of the stack at the expression's end, as an unsigned word.

    `registers` by DWARF number, None where not known; `read(address, size)` gives fewer
    bytes where memory is not there. FormatError for a broken expression, MissingValue
    for one that needs what is not known.
    """
    machine = Machine(expression, registers, read, list(initial), word, order)
    for _ in range(MAX_STEPS):
        if machine.position >= len(expression):
            return machine.pop()
        machine.step()
    raise FormatError("DWARF expression takes too many steps")


class Machine:
    """The stack machine; `step` carries out one operation at `position`."""

    def __init__(
        self, code: Buffer, registers: Sequence[int | None], read: ReadMemory, stack: list[int],
        word: int, order: str,
    ) -> None:  # fmt: skip
        self.code = code
        self.registers = registers
        self.read = read
        self.stack = stack
        self.word = word
        self.order = order
        self.mask = (1 << 8 * word) - 1
        self.position = 0

    def pop(self) -> int:
        if not self.stack:
            raise FormatError("DWARF expression: empty stack")
        return self.stack.pop()

    def push(self, value: int) -> None:
        if len(self.stack) >= MAX_STACK:
            raise FormatError("DWARF expression: stack too deep")
        self.stack.append(value & self.mask)

    def signed(self, value: int) -> int:
        return value - self.mask - 1 if value > self.mask >> 1 else value

    def operand(self, letter: str, size: int) -> int:
        value = fixed(self.code, self.position, self.order + letter)
        self.position += size
        return value

    def unsigned(self) -> int:
        value, self.position = uleb(self.code, self.position)
        return value

    def register(self, number: int, offset: int) -> None:
        value = self.registers[number] if number < len(self.registers) else None
        if value is None:
            raise MissingValue(f"register {number}")
        self.push(value + offset)

    def step(self) -> None:
        op = self.code[self.position]
        self.position += 1
        if 0x30 <= op <= 0x4F:  # DW_OP_lit0-31
            self.push(op - 0x30)
        elif 0x70 <= op <= 0x8F:  # DW_OP_breg0-31
            offset, self.position = sleb(self.code, self.position)
            self.register(op - 0x70, offset)
        elif 0x50 <= op <= 0x6F:  # DW_OP_reg0-31: only its content makes sense in a frame rule
            self.register(op - 0x50, 0)
        elif op in _CONSTANTS:
            self.push(self.operand(*_CONSTANTS[op]))
        elif op in BINARY:
            right, left = self.pop(), self.pop()
            self.push(BINARY[op](self, left, right))
        elif op in _OTHER:
            _OTHER[op](self)
        else:
            why = "makes no sense in a frame" if op in _ELSEWHERE else "is not known"
            raise FormatError(f"DWARF expression: operation {op:#x} {why}")

    def deref(self, size: int) -> None:
        if not 1 <= size <= self.word:
            raise FormatError(f"DWARF expression: read of {size} bytes")
        address = self.pop()
        data = self.read(address, size)
        if len(data) < size:
            raise MissingValue(f"memory at {address:#x}")
        self.push(int.from_bytes(data, "little" if self.order == "<" else "big"))

    def branch(self, taken: bool) -> None:
        distance = self.operand("h", 2)
        if taken:
            self.position += distance
            if not 0 <= self.position <= len(self.code):
                raise FormatError("DWARF expression: branch outside")

    def pick(self, depth: int) -> None:
        if depth >= len(self.stack):
            raise FormatError("DWARF expression: pick outside the stack")
        self.push(self.stack[-1 - depth])

    def rotate(self, count: int) -> None:
        """The top entry goes below the `count` − 1 others."""
        if len(self.stack) < count:
            raise FormatError("DWARF expression: stack too short")
        self.stack.insert(len(self.stack) - count, self.stack.pop())

    def divide(self, left: int, right: int) -> int:
        a, b = self.signed(left), self.signed(right)
        if b == 0:
            raise FormatError("DWARF expression: division by zero")
        quotient = abs(a) // abs(b)
        return -quotient if (a < 0) != (b < 0) else quotient

    def modulo(self, left: int, right: int) -> int:
        if right == 0:
            raise FormatError("DWARF expression: division by zero")
        return left % right

    def shift(self, left: int, right: int, kind: str) -> int:
        if right >= 8 * self.word:
            return -1 if kind == "sra" and self.signed(left) < 0 else 0
        if kind == "sl":
            return left << right
        return (self.signed(left) if kind == "sra" else left) >> right


BINARY: dict[int, Callable[[Machine, int, int], int]] = {
    0x1A: lambda m, a, b: a & b,
    0x1B: Machine.divide,
    0x1C: lambda m, a, b: a - b,
    0x1D: Machine.modulo,
    0x1E: lambda m, a, b: a * b,
    0x21: lambda m, a, b: a | b,
    0x22: lambda m, a, b: a + b,
    0x24: lambda m, a, b: m.shift(a, b, "sl"),
    0x25: lambda m, a, b: m.shift(a, b, "sr"),
    0x26: lambda m, a, b: m.shift(a, b, "sra"),
    0x27: lambda m, a, b: a ^ b,
    0x29: lambda m, a, b: int(a == b),
    0x2A: lambda m, a, b: int(m.signed(a) >= m.signed(b)),
    0x2B: lambda m, a, b: int(m.signed(a) > m.signed(b)),
    0x2C: lambda m, a, b: int(m.signed(a) <= m.signed(b)),
    0x2D: lambda m, a, b: int(m.signed(a) < m.signed(b)),
    0x2E: lambda m, a, b: int(a != b),
}


# What needs a compilation unit or a frame that is whole already, has types, or describes a
# place and no value (DWARF 5 section 6.4.2 forbids most of these in call frame information).
_ELSEWHERE = frozenset((
    0x18, 0x95, 0xA7,  # xderef, xderef_size, xderef_type: other address spaces
    0x91, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C,  # fbreg, object, calls, TLS, call_frame_cfa
    0x93, 0x9D, 0x9E,  # piece, bit_piece, implicit_value
    0xA0, 0xA1, 0xA2, 0xA3,  # implicit_pointer, addrx, constx, entry_value
    0xA4, 0xA5, 0xA6, 0xA8, 0xA9,  # const_type, regval_type, deref_type, convert, reinterpret
    0xE0, *range(0xF2, 0xFE),  # GNU's forerunners of the same
))  # fmt: skip


def _stack_value(machine: Machine) -> None:
    """DW_OP_stack_value, which some put behind an expression whose value is meant anyway."""
    if machine.position != len(machine.code):
        raise FormatError("DWARF expression: stack_value before its end")


def _encoded_address(machine: Machine) -> None:
    """DW_OP_GNU_encoded_addr: an address as `.eh_frame` encodes it; only absolute ones have a
    meaning here, where it is not known at which address the expression lies."""
    encoding = machine.operand("B", 1)
    if encoding & 0xF0:
        raise FormatError(f"DWARF expression: address encoding {encoding:#x}")
    bases = PointerBases(0, machine.word, machine.order)
    value, machine.position = pointer(machine.code, machine.position, encoding, bases)
    machine.push(value)


def _address(machine: Machine) -> None:
    machine.push(machine.operand("Q" if machine.word == 8 else "I", machine.word))


def _signed_constant(machine: Machine) -> None:
    value, machine.position = sleb(machine.code, machine.position)
    machine.push(value)


def _based_register(machine: Machine) -> None:
    number = machine.unsigned()
    offset, machine.position = sleb(machine.code, machine.position)
    machine.register(number, offset)


_OTHER: dict[int, Callable[[Machine], object]] = {
    0x03: _address,  # DW_OP_addr
    0x06: lambda m: m.deref(m.word),  # DW_OP_deref
    0x10: lambda m: m.push(m.unsigned()),  # DW_OP_constu
    0x11: _signed_constant,  # DW_OP_consts
    0x12: lambda m: m.pick(0),  # DW_OP_dup
    0x13: lambda m: m.pop(),  # DW_OP_drop
    0x14: lambda m: m.pick(1),  # DW_OP_over
    0x15: lambda m: m.pick(m.operand("B", 1)),  # DW_OP_pick
    0x16: lambda m: m.rotate(2),  # DW_OP_swap
    0x17: lambda m: m.rotate(3),  # DW_OP_rot
    0x19: lambda m: m.push(abs(m.signed(m.pop()))),  # DW_OP_abs
    0x1F: lambda m: m.push(-m.pop()),  # DW_OP_neg
    0x20: lambda m: m.push(~m.pop()),  # DW_OP_not
    0x23: lambda m: m.push(m.pop() + m.unsigned()),  # DW_OP_plus_uconst
    0x28: lambda m: m.branch(m.pop() != 0),  # DW_OP_bra
    0x2F: lambda m: m.branch(True),  # DW_OP_skip
    0x90: lambda m: m.register(m.unsigned(), 0),  # DW_OP_regx
    0x92: _based_register,  # DW_OP_bregx
    0x94: lambda m: m.deref(m.operand("B", 1)),  # DW_OP_deref_size
    0x96: lambda m: None,  # DW_OP_nop
    0x9F: _stack_value,
    0xF0: lambda m: None,  # DW_OP_GNU_uninit
    0xF1: _encoded_address,
}
