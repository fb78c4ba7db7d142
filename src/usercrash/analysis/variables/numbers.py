"""Numbers, characters and strings as people read them."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

from ..dwarf.gaps import Gap
from ..dwarf.types import RUST, Type
from .storage import Order

# DW_ATE_*
ADDRESS, BOOLEAN, COMPLEX, FLOAT, SIGNED, SIGNED_CHAR = 1, 2, 3, 4, 5, 6
UNSIGNED, UNSIGNED_CHAR, IMAGINARY, DECIMAL, UTF = 7, 8, 9, 0x0F, 0x10
_CHARS = frozenset((SIGNED_CHAR, UNSIGNED_CHAR, UTF))
_WIDE = frozenset(("wchar_t",))
_X87 = ("x86_64", "x32", "i386")
_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r",
            34: '\\"', 92: "\\\\"}  # fmt: skip


def is_char(kind: Type) -> bool:
    """Whether a base type is one of characters."""
    return kind.encoding in _CHARS or kind.base_name in _WIDE


def base_value(kind: Type, data: bytes, order: Order, machine: str) -> str:
    """A value of a base type. Gap for a kind of number that is not known."""
    encoding, size = kind.encoding, len(data)
    if encoding == COMPLEX:
        half = size // 2
        real, imaginary = (floating(part, order, machine) for part in (data[:half], data[half:]))
        return f"{real} {'- ' + imaginary[1:] if imaginary[:1] == '-' else '+ ' + imaginary}i"
    if encoding in (FLOAT, IMAGINARY):
        return floating(data, order, machine) + ("i" if encoding == IMAGINARY else "")
    if encoding == DECIMAL:
        raise Gap("type not supported: decimal floating point")
    number = int.from_bytes(data, order, signed=encoding in (SIGNED, SIGNED_CHAR))
    if encoding == BOOLEAN:
        return {0: "false", 1: "true"}.get(number, str(number))
    if is_char(kind):
        return character(kind, number)
    return f"{number:#x}" if encoding == ADDRESS else str(number)


def character(kind: Type, number: int) -> str:
    """`65 'A'`, in Rust only `'A'`."""
    code = number & (1 << 8 * (kind.size or 1)) - 1
    shown = f"'{_escaped(code, kind.size or 1, quote=39)}'"
    return shown if kind.language == RUST else f"{number} {shown}"


def _escaped(code: int, size: int, quote: int) -> str:
    if code == 34 and quote == 39:
        return '"'
    if code == quote:
        return "\\" + chr(code)
    if code in _ESCAPES:
        return _ESCAPES[code]
    if 32 <= code < 127:
        return chr(code)
    if size == 1 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return f"\\{code:03o}" if size == 1 else f"\\x{code:x}"
    text = chr(code)
    return text if text.isprintable() else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def quoted(data: bytes, size: int = 1, order: Order = "little") -> str:
    """A string in quotes: UTF-8 where it is, else bytes as octal numbers; wider characters by
    their size."""
    if size == 1:
        try:
            codes = [(ord(char), 4 if ord(char) > 127 else 1) for char in data.decode()]
        except UnicodeDecodeError:
            codes = [(byte, 1) for byte in data]
    else:
        if size == 2:
            data = data.decode(f"utf-16-{order[0]}e", "replace").encode(f"utf-32-{order[0]}e")
        codes = [(int.from_bytes(data[at : at + 4], order), 4) for at in range(0, len(data) - 3, 4)]
    return '"' + "".join(_escaped(code, width, quote=34) for code, width in codes) + '"'


def decoded(data: bytes, size: int, order: Order) -> str:
    """A string of characters of 2 or 4 bytes; what is none in it as it is written for such."""
    return data.decode(f"utf-{8 * size}-{order[0]}e", "replace")


def floating(data: bytes, order: Order, machine: str) -> str:
    """A number of floating point by its size: the shortest digits that mean it."""
    letter = {2: "e", 4: "f", 8: "d"}.get(len(data))
    sign = "<" if order == "little" else ">"
    if letter is not None:
        value: float = struct.unpack(sign + letter, data)[0]
        if letter == "d" or not math.isfinite(value):
            return _trimmed(repr(value))
        for digits in range(1, 10):
            shown = f"{value:.{digits}g}"
            if _packed(sign + letter, float(shown)) == data:
                break
        return _trimmed(shown)
    if machine in _X87 and len(data) in (10, 12, 16):
        return _extended(data)
    if len(data) == 16 and not machine.startswith("ppc"):
        return _quad(int.from_bytes(data, order))
    raise Gap(f"type not supported: {len(data)} bytes of floating point")


def _packed(layout: str, value: float) -> bytes:
    """The bytes of a number, none where rounding made it too large."""
    try:
        return struct.pack(layout, value)
    except OverflowError:
        return b""


def _trimmed(text: str) -> str:
    return text.removesuffix(".0")


def _extended(data: bytes) -> str:
    """x87's 80 bits."""
    mantissa, head = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:10], "little")
    exponent, negative = head & 0x7FFF, head >> 15
    if exponent == 0x7FFF:
        return ("-" if negative else "") + ("inf" if mantissa << 1 & (1 << 64) - 1 == 0 else "nan")
    return _decimal(mantissa, max(exponent, 1) - 16383 - 63, bool(negative), 21)


def _quad(bits: int) -> str:
    """IEEE's 128 bits."""
    fraction, exponent, negative = bits & (1 << 112) - 1, bits >> 112 & 0x7FFF, bits >> 127
    if exponent == 0x7FFF:
        return ("-" if negative else "") + ("nan" if fraction else "inf")
    whole = fraction | (1 << 112 if exponent else 0)
    return _decimal(whole, max(exponent, 1) - 16383 - 112, bool(negative), 36)


def _decimal(mantissa: int, exponent: int, negative: bool, most: int) -> str:
    """mantissa × 2^exponent with the fewest digits that mean it and no other number of its kind."""
    sign = "-" if negative else ""
    if not mantissa:
        return sign + "0"
    value = Fraction(mantissa) * (Fraction(2) ** exponent)
    half = Fraction(2) ** (exponent - 1)
    place = _magnitude(value)
    digits, scale = 0, Fraction(1)
    for count in range(1, most + 1):
        scale = Fraction(10) ** (place - count + 1)
        digits = round(value / scale)
        if abs(digits * scale - value) < half:
            break
    text = str(digits)
    place += len(text) - count
    text = text.rstrip("0") or "0"
    if -5 <= place < 18:
        if place < 0:
            return f"{sign}0.{'0' * (-place - 1)}{text}"
        whole, rest = text[: place + 1].ljust(place + 1, "0"), text[place + 1 :]
        return sign + whole + (f".{rest}" if rest else "")
    rest = f".{text[1:]}" if len(text) > 1 else ""
    return f"{sign}{text[0]}{rest}e{place:+03d}"


def _magnitude(value: Fraction) -> int:
    """The place of the first decimal digit: 0 for 1 to 9."""
    place = len(str(value.numerator)) - len(str(value.denominator))
    while value < Fraction(10) ** place:
        place -= 1
    while value >= Fraction(10) ** (place + 1):
        place += 1
    return place
