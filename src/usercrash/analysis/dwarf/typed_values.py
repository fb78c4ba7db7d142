"""Numbers of a location's stack that have a base type (DWARF 5 sections 2.5.1.4 and 2.5.1.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ...errors import FormatError
from .gaps import Gap

_IN_FLOATS = "location not supported: calculated in floating point"
_SIGNED, _FLOATS = frozenset((0x05, 0x06, 0x0D)), frozenset((0x03, 0x04, 0x09, 0x0F))


class Typed(int):
    """A number on the stack with a base type: its bits, `size` in bytes and DWARF encoding."""

    size: int
    encoding: int

    @classmethod
    def of(cls, value: int, size: int, encoding: int) -> Typed:
        """The lowest bits of a number as one of this type."""
        found = cls(value & (1 << 8 * size) - 1)
        found.size, found.encoding = size, encoding
        return found

    @property
    def meant(self) -> int:
        """The number with its sign."""
        value = int(self)
        if self.encoding in _SIGNED and value >> 8 * self.size - 1:
            value -= 1 << 8 * self.size
        return value


def calculate(op: int, left: int, right: int) -> int:
    """An operation on two numbers of which one at least has a type."""
    kind = left if isinstance(left, Typed) else right
    if not isinstance(kind, Typed):
        raise FormatError("DWARF expression: no type")  # (one of them has one)
    if kind.encoding in _FLOATS:
        return _floating(op, left, right, kind)
    one, other = (Typed.of(value, kind.size, kind.encoding).meant for value in (left, right))
    result = _TYPED[op](one, other, kind.size) if op in _TYPED else None
    if result is None:
        raise FormatError(f"DWARF expression: operation {op:#x} on typed values")
    return result if 0x29 <= op <= 0x2E else Typed.of(result, kind.size, kind.encoding)


def _floating(op: int, left: int, right: int, kind: Typed) -> int:
    """A calculation in floating point."""
    letter = {4: "f", 8: "d"}.get(kind.size)
    action = _FLOATING.get(op)
    if letter is None or action is None:
        raise Gap(_IN_FLOATS)
    pair = (float_of(value, letter) for value in (left, right))
    try:
        result = action(*pair)
        if 0x29 <= op <= 0x2E:
            return int(result)
        bits = struct.unpack(f"<{'I' if letter == 'f' else 'Q'}", struct.pack(f"<{letter}", result))
    except (OverflowError, ZeroDivisionError):
        raise Gap(_IN_FLOATS) from None
    return Typed.of(bits[0], kind.size, kind.encoding)


def float_of(value: int, letter: str) -> float:
    """The floating point number that some bits are; `letter` is that of `struct`."""
    size = 4 if letter == "f" else 8
    data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    found: float = struct.unpack(f"<{letter}", data)[0]
    return found


def convert(value: int, kind: tuple[int, int] | None, signed: int) -> int:
    """A number as one of another type, (size, encoding) or None for the generic one; `signed` is
    what it is with a sign, if it has no type."""
    known = value if isinstance(value, Typed) else None
    floating = known is not None and known.encoding in _FLOATS
    if known is not None and kind == (known.size, known.encoding):
        return value
    if floating or (kind is not None and kind[1] in _FLOATS):
        return _converted(value, kind, signed)
    if isinstance(value, Typed):
        meant = value.meant
    else:
        meant = signed if kind is not None and kind[1] in _SIGNED else value
    return Typed.of(meant, *kind) if kind is not None else meant


def _converted(value: int, kind: tuple[int, int] | None, signed: int) -> int:
    """A number of floating point to or from another type."""
    meant: float
    if isinstance(value, Typed) and value.encoding in _FLOATS:
        if value.size not in (4, 8):
            raise Gap(_IN_FLOATS)
        meant = float_of(value, "f" if value.size == 4 else "d")
    else:
        meant = value.meant if isinstance(value, Typed) else signed
    try:
        if kind is None:
            return int(meant)
        if kind[1] not in _FLOATS:
            return Typed.of(int(meant), *kind)
        letters = {4: "fI", 8: "dQ"}.get(kind[0])
        if letters is None:
            raise Gap(_IN_FLOATS)
        bits = struct.unpack(f"<{letters[1]}", struct.pack(f"<{letters[0]}", meant))[0]
    except (OverflowError, ValueError):
        raise Gap(_IN_FLOATS) from None
    return Typed.of(bits, *kind)


def _divided(a: int, b: int, _size: int) -> int | None:
    if not b:
        return None
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def _shifted(a: int, b: int, size: int, left: bool = False) -> int | None:
    if not 0 <= b < 8 * size:
        return 0 if a >= 0 or left else -1
    return a << b if left else a >> b


def _remainder(a: int, b: int, size: int) -> int | None:
    quotient = _divided(a, b, size)
    return None if quotient is None else a - b * quotient


_FLOATING: dict[int, Callable[[float, float], float]] = {
    0x1B: lambda a, b: a / b, 0x1C: lambda a, b: a - b, 0x1E: lambda a, b: a * b,
    0x22: lambda a, b: a + b, 0x29: lambda a, b: a == b, 0x2A: lambda a, b: a >= b,
    0x2B: lambda a, b: a > b, 0x2C: lambda a, b: a <= b, 0x2D: lambda a, b: a < b,
    0x2E: lambda a, b: a != b,
}  # fmt: skip
_TYPED: dict[int, Callable[[int, int, int], int | None]] = {
    0x1A: lambda a, b, s: a & b, 0x1B: _divided, 0x1C: lambda a, b, s: a - b,
    0x1D: _remainder, 0x1E: lambda a, b, s: a * b, 0x21: lambda a, b, s: a | b,
    0x22: lambda a, b, s: a + b, 0x24: lambda a, b, s: _shifted(a, b, s, True),
    0x25: lambda a, b, s: _shifted(a & (1 << 8 * s) - 1, b, s), 0x26: _shifted,
    0x27: lambda a, b, s: a ^ b, 0x29: lambda a, b, s: int(a == b),
    0x2A: lambda a, b, s: int(a >= b), 0x2B: lambda a, b, s: int(a > b),
    0x2C: lambda a, b, s: int(a <= b), 0x2D: lambda a, b, s: int(a < b),
    0x2E: lambda a, b, s: int(a != b),
}  # fmt: skip
