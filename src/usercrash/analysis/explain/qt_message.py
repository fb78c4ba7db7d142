"""The text of Qt's fatal messages: a QString in the frame of the function that ended the program,
or, as qFatal() has none any more by then, what it was made of.

Qt 6 (qstring.h, qarraydatapointer.h): pointer to a QArrayData, pointer to the text, length; Qt 5
(qarraydata.h): pointer to a QArrayData (count of references, length, capacity, distance of the
text). Texts are UTF-16, and end with a NUL that does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..instructions.call_constants import call_constants
from .printf_text import printed
from .scene import Scene
from .stack_texts import stack_between, stack_words

FATAL = ("QMessageLogger::fatal", "QMessageLogger::critical", "QMessageLogger::warning")
_MAX = 4096  # characters
_HEAD = 24  # bytes of Qt 5's QArrayData
_SHOWN = 1000


def qt_message(scene: Scene, names: Sequence[str]) -> str:
    """The text of the innermost of these functions' calls, "" where it is not known."""
    at = next((number for number, name in enumerate(names) if name in FATAL), None)
    where = stack_between(scene, at, at) if at is not None else None
    if at is None or where is None or scene.arch.long != 8:
        return ""
    return _kept(scene, where) or _printed(scene, where, at)


def _printed(scene: Scene, where: range, at: int) -> str:
    """By its form, which the call has as a constant, and the arguments, which its frame has."""
    back = next((int(one.pc, 16) for one in scene.frames[at + 1 :] if not one.inline), 0)
    form = call_constants(scene.memory, scene.arch, back).get("rsi")
    return printed(scene, where, form, 2) if form else ""


def _kept(scene: Scene, where: range) -> str:
    """The one QString there."""
    found: dict[str, None] = {}
    for address, value in stack_words(scene, where):
        place = scene.places.find(value)
        if place is None or not place.writable or value % 8:
            continue
        text = _of_six(scene, address, value) or _of_five(scene, value)
        if text:
            found[text] = None
    return next(iter(found)) if len(found) == 1 else ""


def _of_six(scene: Scene, address: int, data: int) -> str:
    text, length = scene.word(address + 8), scene.word(address + 16)
    if not text or not length or not data < text <= data + 64:
        return ""
    return _utf16(scene, text, length)


def _of_five(scene: Scene, data: int) -> str:
    head = scene.memory(data, _HEAD)
    if len(head) < _HEAD:
        return ""
    order = scene.arch.byte_order
    references = int.from_bytes(head[:4], order, signed=True)
    length = int.from_bytes(head[4:8], order)
    distance = int.from_bytes(head[16:24], order)
    if not -1 <= references < 1 << 16 or not length or distance != _HEAD:
        return ""
    return _utf16(scene, data + distance, length)


def _utf16(scene: Scene, address: int, length: int) -> str:
    """The text, cut where it is very long or not all of it was captured."""
    if length > _MAX:
        return ""
    data = scene.memory(address, 2 * length + 2)
    if len(data) == 2 * length + 2:
        if data[-2:] != b"\0\0":
            return ""
        data = data[:-2]
    wanted = data[: 2 * min(length, _SHOWN)]
    codec = "utf-16-be" if scene.arch.byte_order == "big" else "utf-16-le"
    text = wanted[: len(wanted) // 2 * 2].decode(codec, "replace")
    if not text or not all(one.isprintable() or one in "\n\t\r" for one in text):
        return ""
    return text if len(text) == length else text + "…"
