"""The calls of an interpreted language, as perl/ and php/ read them from an interpreter's memory.

Standard library only, and nothing is imported that a cold client has not.
"""

from __future__ import annotations

from _struct import Struct

from .model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]
    Symbol = Callable[[int, bytes], int]  # of the module that begins there; 0 if it has none

MOST = 4000  # frames
MAX_MODULES = 8  # that are asked for an interpreter's symbols
_WORD = Struct("<Q")
_TOP = 1 << 47


class Found:
    """An interpreter: its `path`, `address` and version, and what else tells its build (`mark`:
    the size of its structure, the number of its interface); `layout` is None where it is of a
    version or a build that is not known."""

    __slots__ = ("address", "layout", "mark", "path", "version")

    def __init__(
        self,
        path: bytes,
        address: int,
        version: tuple[int, int, int],
        mark: int,
        layout: dict[str, int] | None,
    ) -> None:
        self.path = path
        self.address = address
        self.version = version
        self.mark = mark
        self.layout = layout


class Frame:
    """A call: `name` in UTF-8, its file and line, b"" and 0 where they are not known; of a function
    in C neither. `entry`: C code called it."""

    __slots__ = ("entry", "file", "line", "name")

    def __init__(self, name: bytes, place: tuple[bytes, int], entry: bool) -> None:
        self.name = name
        self.file, self.line = place
        self.entry = entry


class Walked:
    """The frames, innermost first, and why there are no more ("": the stack ends there). `runs` are
    the ends of what each native loop runs: frames [runs[n - 1], runs[n]). `holds_lock`: the thread
    has the lock without which none runs the language."""

    __slots__ = ("end", "frames", "holds_lock", "runs")

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.runs: list[int] = []
        self.end = ""
        self.holds_lock = False


def is_place(address: int) -> bool:
    """Whether a structure may lie at an address."""
    return address % 8 == 0 and 4096 <= address < _TOP


def word_at(read: Read, address: int) -> int:
    """The word at an address that need not be aligned; 0 where there is none."""
    data = read(address, 8) if 0 < address < _TOP else b""
    value: int = _WORD.unpack(data)[0] if len(data) == 8 else 0
    return value
