"""The text that a function of printf's kind was to print: its form, and its arguments where the
function's own frame keeps them (x86-64: "Register Save Area" and va_list, System V ABI for AMD64,
3.5.7)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import unpack

from .scene import Scene
from .stack_texts import known_text, stack_words

_GENERAL, _WHOLE = 48, 176  # bytes of the area for general registers, of all of it
_MAX_FORM = 1000
_MAX_FURTHER = 512  # bytes of arguments that did not fit into registers
_CONVERSION = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\*|\d*)(?P<point>\.(?P<precision>\*|\d*))?"
    r"(?P<size>hh|h|ll|l|j|z|t|q|L)?(?P<kind>[diouxXcspfFeEgG%])"
)
_BITS = {"hh": 8, "h": 16, "": 32}  # others: 64


class _Unknown(Exception):
    """Something that is not told."""


def printed(scene: Scene, frame: range, form: int, fixed: int) -> str:
    """The text, by the va_list on the stack of the function, whose first `fixed` arguments are not
    printed; "" where the form, the list or one of the values is not known."""
    if scene.arch.name != "x86_64":
        return ""
    words = scene.memory(form, _MAX_FORM).partition(b"\0")
    text = words[0].decode("utf-8", "backslashreplace") if words[1] else ""
    if "%" not in text:
        return text
    lists = set(_lists(scene, frame))
    if len(lists) != 1:
        return ""
    try:
        return _Values(scene, *lists.pop(), fixed).put_into(text)
    except (_Unknown, ValueError, OverflowError):
        return ""


def _lists(scene: Scene, frame: range) -> Iterator[tuple[int, int]]:
    """(register save area, further arguments) of each va_list there."""
    for address, offsets in stack_words(scene, frame):
        general, floats = offsets & 0xFFFFFFFF, offsets >> 32
        if general > _GENERAL or general % 8 or not _GENERAL <= floats <= _WHOLE or floats % 16:
            continue
        further, area = scene.word(address + 8), scene.word(address + 16)
        if further is None or area is None or area not in frame:
            continue
        if frame.stop <= further <= frame.stop + _MAX_FURTHER:
            yield area, frame.stop  # (the pointer itself may have gone on)


class _Values:
    """The arguments, one after the other."""

    def __init__(self, scene: Scene, area: int, further: int, fixed: int) -> None:
        self._scene = scene
        self._area = area
        self._further = further
        self._general = 8 * fixed
        self._floats = _GENERAL

    def put_into(self, form: str) -> str:
        """The form with its arguments."""
        result, end = [], 0
        for found in _CONVERSION.finditer(form):
            between = form[end : found.start()]
            if "%" in between:
                raise _Unknown
            result += [between, self._one(found)]
            end = found.end()
        if "%" in form[end:]:
            raise _Unknown
        return "".join([*result, form[end:]])

    def _one(self, found: re.Match[str]) -> str:
        kind, size = found["kind"], found["size"] or ""
        if kind == "%":
            return "%"
        width = str(self._signed(32)) if found["width"] == "*" else found["width"]
        precision = found["precision"] or ""
        if precision == "*":
            precision = str(self._signed(32))
        form = f"%{found['flags']}{width}" + (f".{precision}" if found["point"] else "")
        if len(width) > 4 or len(precision) > 4:
            raise _Unknown
        if kind in "fFeEgG":
            if size == "L":
                raise _Unknown
            return (form + kind) % self._float()
        if kind in "di":
            return (form + "d") % self._signed(_BITS.get(size, 64))
        if kind in "ouxX":
            value = self._word() & (1 << _BITS.get(size, 64)) - 1
            return (form + ("d" if kind == "u" else kind)) % value
        if size:
            raise _Unknown  # wide characters
        if kind == "c":
            return (form + "c") % chr(self._word() & 0x7F)
        if kind == "p":
            return (form + "s") % hex(self._word())
        return (form + "s") % self._text()

    def _text(self) -> str:
        pointer = self._word()
        if not pointer:
            return "(null)"
        if not self._scene.memory(pointer, 1):
            raise _Unknown
        return known_text(self._scene, pointer)

    def _word(self) -> int:
        if self._general < _GENERAL:
            value = self._scene.word(self._area + self._general)
            self._general += 8
        else:
            value = self._next()
        if value is None:
            raise _Unknown
        return value

    def _next(self) -> int | None:
        value = self._scene.word(self._further)
        self._further += 8
        return value

    def _signed(self, bits: int) -> int:
        value = self._word() & (1 << bits) - 1
        return value - (1 << bits) if value >> bits - 1 else value

    def _float(self) -> float:
        if self._floats < _WHOLE:
            value = self._scene.word(self._area + self._floats)
            self._floats += 16
        else:
            value = self._next()
        if value is None:
            raise _Unknown
        number: float = unpack("<d", value.to_bytes(8, "little"))[0]
        return number
