"""Values of local variables, of simple types only, and bounded: read by capture only where it is
configured, because they hold secrets.

Layouts: Include/cpython/longintrepr.h, floatobject.h, listobject.h, dictobject.h, cellobject.h.
"""

from __future__ import annotations

from _struct import Struct

from ..model.types import TYPE_CHECKING
from .objects import TOP

if TYPE_CHECKING:
    from .frames import Frame
    from .objects import Objects, Text

FRAMES_OF_FIRST, FRAMES_OF_OTHERS = 32, 4  # whose variables are read
MAX_VARIABLES = 64  # of a frame
_MAX_CHARACTERS = 200
_MAX_DIGITS = 40  # of 30 bits
_WORD = Struct("<Q")
_SIGNED = Struct("<q")
_FLOAT = Struct("<d")
_COUNTED = (b"list", b"tuple")


class Value:
    """A variable's value, as it lies in memory: of a type by its `kind`, with its text, bytes or
    number, or the number of its items; where there is none of these, only the kind is told."""

    __slots__ = ("data", "items", "kind", "number", "text")

    def __init__(self, kind: bytes) -> None:
        self.kind = kind
        self.number: int | float | None = None
        self.text: Text | None = None
        self.data: bytes | None = None
        self.items: int | None = None

    def written(self) -> str:
        """As Python writes it; in angle brackets what is not written out."""
        name = self.kind.decode("utf-8", "backslashreplace")
        if self.kind == b"NoneType":
            return "None"
        if self.kind == b"bool" and self.number is not None:
            return str(bool(self.number))
        if self.number is not None:
            return repr(self.number)
        if self.text is not None:
            return repr(self.text.decode())
        if self.data is not None:
            return repr(self.data)
        if self.items is not None:
            return f"<{name} of {self.items:,} item{'' if self.items == 1 else 's'}>"
        return f"<{name}>"


def variables(objects: Objects, frame: Frame) -> list[tuple[Text, Value]]:
    """The variables of a frame that have a value, with their names, in the order of the code."""
    code, at = frame.code, objects.layout.at
    names = objects.items(code.names, MAX_VARIABLES) if code is not None else None
    if not names:
        return []
    start = frame.address + at["frame_locals"]
    data = objects.read(start, 8 * len(names))
    found = []
    for number, (word,) in enumerate(_WORD.iter_unpack(data[: len(data) // 8 * 8])):
        name = objects.text(names[number])
        if name is not None and (value := _value(objects, word)) is not None:
            found.append((name, value))
    return found


def _value(objects: Objects, word: int) -> Value | None:
    """The value at a word of a frame, None for an empty one."""
    if objects.layout.minor >= (3, 14):  # tagged: the lowest two bits (_PyStackRef)
        if word & 3 == 3:
            value = Value(b"int")
            value.number = (word ^ 1 << 63) - (1 << 63) >> 2
            return value
        word &= ~3
    kind = objects.type_of(word)
    if kind and objects.is_type(kind, b"cell"):
        word = objects.word(word + objects.layout.at["object_type"] + 8) or 0
        kind = objects.type_of(word)
    name = objects.type_name(kind) if kind else b""
    if not name:
        return None
    value = Value(name)
    if objects.is_type(kind, name):
        _read(objects, word, value)
    return value


def _read(objects: Objects, address: int, value: Value) -> None:
    """Fill in what an object of one of the interpreter's own types holds."""
    at, kind = objects.layout.at, value.kind
    if kind in (b"int", b"bool"):
        value.number = _integer(objects, address)
    elif kind == b"float":
        data = objects.read(address + at["float_value"], 8)
        value.number = _FLOAT.unpack(data)[0] if len(data) == 8 else None
    elif kind == b"str":
        value.text = objects.text(address, _MAX_CHARACTERS)
    elif kind == b"bytes":
        size = objects.size(address)
        if size is not None and size <= _MAX_CHARACTERS:
            value.data = objects.contents(address, _MAX_CHARACTERS)
        else:
            value.items = size
    elif kind in _COUNTED:
        value.items = objects.size(address)
    elif kind == b"dict" and "dict_used" in at:
        used = objects.word(address + at["dict_used"])
        value.items = used if used is not None and used < TOP else None


def _integer(objects: Objects, address: int) -> int | None:
    """An int of at most 1,200 bits. Up to 3.11 ob_size has sign and number of digits, from 3.12 on
    the lowest bits of lv_tag the sign, those above the third the number."""
    at = objects.layout.at
    head = objects.read(address + at["long_tag"], 8)
    if len(head) < 8:
        return None
    if objects.layout.minor >= (3, 12):
        tag: int = _WORD.unpack(head)[0]
        sign, count = 1 - (tag & 3), tag >> 3
    else:
        size: int = _SIGNED.unpack(head)[0]
        sign, count = (size > 0) - (size < 0), abs(size)
    if count > _MAX_DIGITS:
        return None
    data = objects.read(address + at["long_digits"], 4 * count)
    if len(data) < 4 * count:
        return None
    number = 0
    for digit in range(count):
        number |= int.from_bytes(data[4 * digit : 4 * digit + 4], "little") << 30 * digit
    return sign * number
