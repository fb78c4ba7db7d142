"""Where a variable is: DWARF location descriptions (DWARF 5 section 2.6; GNU's forerunners).

An expression gives parts, each in memory, in a register, a value that the compiler knew, or
nowhere. Values on the stack may have a base type (section 2.5.1.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ...errors import FormatError
from .attributes import AT_byte_size, AT_encoding
from .encodings import sleb, uleb
from .expression import BINARY, MAX_STEPS, Machine, MissingValue
from .gaps import NOT_IN_DUMP, OPTIMIZED_OUT, THREAD_LOCAL, Gap
from .typed_values import Typed, calculate, convert
from .units import Unit

MAX_PARTS = 256


class Where(Enum):
    """What a part's `value` is."""

    MEMORY = "an address"
    REGISTER = "a register's DWARF number"
    VALUE = "the number itself"
    BYTES = "the bytes themselves"
    POINTER = "a pointer to a variable that is not in memory: (its entry's offset, distance)"
    NOWHERE = "nothing"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a variable: `bits` of it (0: the rest), from bit `skip` of what is there."""

    where: Where
    value: int = 0
    data: bytes = b""
    bits: int = 0
    skip: int = 0


class FrameState(Protocol):
    """What expressions ask of a frame; each raises Gap for what is not known. `registers` by DWARF
    number; `bias` is the distance of the process's addresses from the file's."""

    registers: list[int | None]
    bias: int

    def read(self, address: int, size: int) -> bytes: ...
    def vector(self, number: int) -> bytes | None: ...
    def frame_base(self) -> int: ...
    def frame_address(self) -> int: ...
    def entry_value(self, expression: bytes, unit: Unit) -> int: ...


def locate(expression: bytes, unit: Unit, frame: FrameState, obj: int | None = None) -> list[Part]:
    """The parts of what an expression of a unit describes; `obj` is the address of the object that
    holds it (DW_OP_push_object_address).

    FormatError for a broken expression, Gap where it needs what is not known.
    """
    try:
        return _Locator(expression, unit, frame, obj).run()
    except MissingValue as error:
        raise Gap(why_missing(error)) from None


def number_of(expression: bytes, unit: Unit, frame: FrameState, obj: int | None = None) -> int:
    """What an expression leaves on top of the stack, where that is a number (a bound, a member's
    distance, a parameter's value at a call)."""
    try:
        machine = _Locator(expression, unit, frame, obj)
        parts = machine.run()
    except MissingValue as error:
        raise Gap(why_missing(error)) from None
    if len(parts) != 1 or parts[0].where not in (Where.MEMORY, Where.VALUE, Where.REGISTER):
        raise Gap(OPTIMIZED_OUT)
    if parts[0].where is Where.REGISTER:
        value = machine.register_value(parts[0].value)
        if value is None:
            raise Gap(OPTIMIZED_OUT)
        return value
    return parts[0].value


def why_missing(error: MissingValue) -> str:
    """The words for what an expression could not have."""
    return OPTIMIZED_OUT if error.what.startswith("register") else NOT_IN_DUMP


class _Locator(Machine):
    """One expression. `found` is the place that the last operation named, `parts` are done."""

    def __init__(self, code: bytes, unit: Unit, frame: FrameState, obj: int | None) -> None:
        shape = unit.shape
        stack = [obj] if obj is not None else []
        super().__init__(code, frame.registers, frame.read, stack, shape.word, shape.order)
        self.unit = unit
        self.frame = frame
        self.obj = obj
        self.found: Part | None = None
        self.parts: list[Part] = []

    def run(self) -> list[Part]:
        """All parts; none for an empty expression."""
        for _ in range(MAX_STEPS):
            if self.position >= len(self.code):
                break
            self.step()
        else:
            raise FormatError("DWARF expression takes too many steps")
        self.unit.file.work.spend(2 + (len(self.code) >> 2))
        if not self.parts:
            if self.found is not None:
                return [self.found]
            return [Part(Where.MEMORY, self.pop())] if len(self.code) else []
        return self.parts

    def register_value(self, number: int) -> int | None:
        """What a register holds, None where that is not known."""
        return self.registers[number] if number < len(self.registers) else None

    # --- operations ---

    def push(self, value: int) -> None:
        if isinstance(value, Typed):
            super().push(0)
            self.stack[-1] = value
        else:
            super().push(value)

    def step(self) -> None:
        op = self.code[self.position]
        if 0x50 <= op <= 0x6F:  # DW_OP_reg0-31
            self.position += 1
            self.found = Part(Where.REGISTER, op - 0x50)
        elif op in _PLACES:
            self.position += 1
            _PLACES[op](self)
        elif op in BINARY and len(self.stack) > 1 and self._typed():
            self.position += 1
            right = self.pop()
            self.push(calculate(op, self.pop(), right))
        else:
            super().step()

    def _typed(self) -> bool:
        return isinstance(self.stack[-1], Typed) or isinstance(self.stack[-2], Typed)

    def take(self, size: int) -> bytes:
        """The next bytes of the expression."""
        found = bytes(self.code[self.position : self.position + size])
        if len(found) < size:
            raise FormatError("DWARF expression cut short")
        self.position += size
        return found

    def end_part(self, bits: int, skip: int = 0) -> None:
        """DW_OP_piece, DW_OP_bit_piece: what came before is so many bits of the variable."""
        if len(self.parts) >= MAX_PARTS:
            raise FormatError("DWARF expression: too many pieces")
        found = self.found
        if found is None:
            found = Part(Where.MEMORY, self.pop()) if self.stack else Part(Where.NOWHERE)
        self.parts.append(Part(found.where, found.value, found.data, bits, skip))
        self.found = None
        self.stack.clear()


def _number(data: bytes, order: str) -> int:
    return int.from_bytes(data, "little" if order == "<" else "big")


def _stack_value(m: _Locator) -> None:
    value = m.pop()
    if isinstance(value, Typed):
        data = int(value).to_bytes(value.size, "little" if m.order == "<" else "big")
        m.found = Part(Where.BYTES, data=data)
    else:
        m.found = Part(Where.VALUE, value)


def _implicit_value(m: _Locator) -> None:
    m.found = Part(Where.BYTES, data=m.take(m.unsigned()))


def _implicit_pointer(m: _Locator) -> None:
    shape = m.unit.shape
    offset = _number(m.take(shape.word if shape.version == 2 else shape.offset), m.order)
    distance, m.position = sleb(m.code, m.position)
    m.found = Part(Where.POINTER, offset, distance.to_bytes(16, "little", signed=True))


def register_named(expression: bytes, unit: Unit) -> tuple[int, tuple[int, int] | None] | None:
    """(number, base type as (size, encoding) or None) of the register whose content is all that an
    expression gives; None for any other one."""
    if not expression:
        return None
    op, rest = expression[0], expression[1:]
    try:
        if 0x50 <= op <= 0x6F and not rest:
            return op - 0x50, None
        if op == 0x90 and uleb(rest, 0)[1] == len(rest):
            return uleb(rest, 0)[0], None
        if op in (0xA5, 0xF5):
            number, at = uleb(rest, 0)
            offset, at = uleb(rest, at)
            if at == len(rest):
                return number, base_type(unit, offset)
    except FormatError:
        pass
    return None


def base_type(unit: Unit, offset: int) -> tuple[int, int] | None:
    """(size, encoding) of the base type at an offset in a unit; None for 0, the generic one."""
    if not offset:
        return None
    entry = unit.entry(unit.start + offset)
    size = entry.number(AT_byte_size) if entry is not None else None
    if entry is None or size is None or not 0 < size <= 16:
        raise FormatError("DWARF expression: no base type")
    return size, entry.number(AT_encoding) or 0


def _entry_value(m: _Locator) -> None:
    m.push(m.frame.entry_value(m.take(m.unsigned()), m.unit))


def _frame_base(m: _Locator) -> None:
    offset, m.position = sleb(m.code, m.position)
    m.push(m.frame.frame_base() + offset)


def _address(m: _Locator) -> None:
    m.push(m.operand("Q" if m.word == 8 else "I", m.word) + m.frame.bias)


def _object_address(m: _Locator) -> None:
    if m.obj is None:
        raise Gap(OPTIMIZED_OUT)
    m.push(m.obj)


def _constant_typed(m: _Locator) -> None:
    kind = base_type(m.unit, m.unsigned())
    data = m.take(m.take(1)[0])
    if kind is None or kind[0] != len(data):
        raise FormatError("DWARF expression: constant of another size")
    m.push(Typed.of(_number(data, m.order), *kind))


def _register_typed(m: _Locator) -> None:
    number = m.unsigned()
    kind = base_type(m.unit, m.unsigned())
    data = m.frame.vector(number) if number >= len(m.registers) else None
    if data is not None and kind is not None:
        m.push(Typed.of(_number(data, m.order), *kind))
        return
    m.register(number, 0)
    if kind is not None:
        if kind[0] > m.word:
            raise Gap(OPTIMIZED_OUT)
        m.push(Typed.of(m.pop(), *kind))


def _deref_typed(m: _Locator) -> None:
    size = m.take(1)[0]
    kind = base_type(m.unit, m.unsigned())
    address = m.pop()
    data = m.read(address, size)
    if len(data) < size:
        raise MissingValue(f"memory at {address:#x}")
    value = _number(data, m.order)
    m.push(Typed.of(value, *kind) if kind is not None else value)


def _convert(m: _Locator) -> None:
    kind = base_type(m.unit, m.unsigned())
    value = m.pop()
    m.push(convert(value, kind, m.signed(value)))


def _reinterpret(m: _Locator) -> None:
    kind = base_type(m.unit, m.unsigned())
    value = m.pop()
    m.push(Typed.of(value, *kind) if kind is not None else int(value))


def _thread_local(_m: _Locator) -> None:
    raise Gap(THREAD_LOCAL)


def _bit_piece(m: _Locator) -> None:
    bits = m.unsigned()
    m.end_part(bits, m.unsigned())


def _register_place(m: _Locator) -> None:
    m.found = Part(Where.REGISTER, m.unsigned())


def _unsupported(m: _Locator) -> None:
    raise Gap(f"location not supported: operation {m.code[m.position - 1]:#x}")


_PLACES: dict[int, Callable[[_Locator], object]] = {
    0x03: _address,
    0x90: _register_place,
    0x91: _frame_base,
    0x93: lambda m: m.end_part(8 * m.unsigned()),
    0x97: _object_address,
    0x98: _unsupported, 0x99: _unsupported, 0x9A: _unsupported,  # calls of other expressions
    0x9B: _thread_local, 0xE0: _thread_local,
    0x9C: lambda m: m.push(m.frame.frame_address()),
    0x9D: _bit_piece,
    0x9E: _implicit_value,
    0x9F: _stack_value,
    0xA0: _implicit_pointer, 0xF2: _implicit_pointer,
    0xA1: lambda m: m.push(m.unit.indexed_address(m.unsigned()) + m.frame.bias),
    0xFB: lambda m: m.push(m.unit.indexed_address(m.unsigned()) + m.frame.bias),
    0xA2: lambda m: m.push(m.unit.indexed_address(m.unsigned())),
    0xFC: lambda m: m.push(m.unit.indexed_address(m.unsigned())),
    0xA3: _entry_value, 0xF3: _entry_value,
    0xA4: _constant_typed, 0xF4: _constant_typed,
    0xA5: _register_typed, 0xF5: _register_typed,
    0xA6: _deref_typed, 0xF6: _deref_typed,
    0xA8: _convert, 0xF7: _convert,
    0xA9: _reinterpret, 0xF9: _reinterpret,
    0xFA: _unsupported, 0xFD: _unsupported,  # GNU's parameter_ref, variable_value
}  # fmt: skip
