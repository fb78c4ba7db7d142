"""What the words of a stack point to: texts and objects that belong to certain frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from ...report import Frame
from .scene import Scene, frame_sp

MAX_TEXT = 1000
_MAX_RANGE = 32 << 10  # bytes of stack that are looked through
_MAX_POINTERS = 600  # different values of them that are followed
_SMALLEST = 1 << 12


def frames_range(scene: Scene, functions: Collection[str], names: Sequence[str]) -> range | None:
    """The stack from the innermost frame to that of the outermost of these functions; `names` are
    the plain names of scene.frames. None where they are not there."""
    found = [number for number, name in enumerate(names) if name in functions]
    return stack_between(scene, 0, found[-1]) if found else None


def stack_between(scene: Scene, first: int, last: int) -> range | None:
    """The addresses from the stack pointer of frame number `first` up to that of the frame that
    called number `last`, at most 32 KiB."""
    low = _sp_from(scene.frames[first:])
    high = _sp_from(scene.frames[last + 1 :])
    if low is None:
        return None
    if high is None or not low < high <= low + _MAX_RANGE:
        high = low + (_MAX_RANGE if high is not None and high > low else 1024)
    return range(low, high)


def _sp_from(frames: Sequence[Frame]) -> int | None:
    for frame in frames:
        sp = frame_sp(frame)
        if sp is not None:
            return sp
    return None


def stack_words(scene: Scene, where: range) -> Iterator[tuple[int, int]]:
    """(address, value) of each known word there."""
    word, order = scene.arch.word, scene.arch.byte_order
    start = where.start // word * word
    while start < where.stop:
        data = scene.memory(start, where.stop - start)
        usable = len(data) // word * word
        for at in range(0, usable, word):
            yield start + at, int.from_bytes(data[at : at + word], order)
        start += usable + word if usable < len(data) or not usable else usable
        if not data:
            return


def texts(
    scene: Scene, where: range, wanted: Callable[[str], bool], registers: bool = True
) -> list[str]:
    """The different C strings that registers and those words point to, and that are wanted, in the
    order of the words."""
    values = [value for _, value in stack_words(scene, where)]
    if registers:
        values = [scene.registers.get(name, 0) for name in scene.arch.callee_saved] + values
    found: dict[str, None] = {}
    for value in list(dict.fromkeys(values))[:_MAX_POINTERS]:
        if value >= _SMALLEST and scene.places.find(value) is not None:
            text = c_string(scene, value)
            if text and wanted(text):
                found[text] = None
    return list(found)


def c_string(scene: Scene, address: int, most: int = MAX_TEXT) -> str:
    """The text that ends with a NUL at the address, "" where there is none, or where it is not all
    of it printable. One that is longer than `most`, or than what was captured, ends with "…"."""
    data = scene.memory(address, most)
    text, nul, _ = data.partition(b"\0")
    return _printable(text, cut=not nul) if text else ""


def known_text(scene: Scene, address: int, most: int = MAX_TEXT) -> str:
    """The C string at an address where surely one stands, whatever bytes it has: what is not
    printable as an escape."""
    data = scene.memory(address, most)
    text, nul, _ = data.partition(b"\0")
    cut = "" if nul else "…"
    if found := _printable(text, cut=not nul):
        return found
    words = text.decode("utf-8", "backslashreplace")
    return "".join(
        one if one.isprintable() or one in "\n\t\r" else f"\\x{ord(one):02x}" for one in words
    ) + (cut if words else "")


def counted_string(scene: Scene, address: int, length: int) -> str:
    """The text of that many bytes, "" as above."""
    data = scene.memory(address, min(length, MAX_TEXT))
    return _printable(data, cut=len(data) < length) if data else ""


def _printable(data: bytes, cut: bool) -> str:
    for shorter in range(4 if cut else 1):  # a character may be cut in its middle
        try:
            text = data[: len(data) - shorter].decode("utf-8")
        except UnicodeDecodeError:
            continue
        if not text or not all(one.isprintable() or one in "\n\t\r" for one in text):
            return ""
        return text + "…" if cut else text
    return ""


def one_line(text: str, most: int = 300) -> str:
    """The first line that has anything in it, at most so long."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[0] if len(lines[0]) <= most else lines[0][: most - 1] + "…"
