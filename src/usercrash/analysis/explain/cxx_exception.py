"""The C++ exception that ended a program, found in its memory: type, and what() of those
that keep a text.

Layouts: the C++ ABI for Itanium (exception handling, run-time type information). Before each
thrown object stands `struct __cxa_exception`, whose end is `struct _Unwind_Exception`, 32 bytes
that begin with the runtime's class, "GNUCC++\\0" or "CLNGC++\\0" (libc++abi) as a number. The type
stands 80 bytes before that; libstdc++ (unwind-cxx.h) has the count of references 96 before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...report import Evidence
from ..symbols.demangle import demangle
from .scene import Scene, seen
from .stack_texts import c_string, counted_string, one_line, stack_words

# (of an exception that std::rethrow_exception throws again the last byte is 1: its object is
# elsewhere)
_CLASSES = {0x474E5543432B2B00: "libstdc++", 0x434C4E47432B2B00: "libc++"}
_HEADER = 32  # sizeof(_Unwind_Exception)
_TYPE = 80  # how far before it the type stands
_COUNT = 96  # libstdc++: how far before it the count of references stands
_CAUGHT = 40  # handlerCount, which std::terminate's caller has set to 1
_MAX_NAME = 2000
_MAX_BASES = 8
_TEXT_KEEPERS = ("St13runtime_error", "St11logic_error")
_STRINGS = (
    "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE",  # std::string: pointer, length
)
_NUMBERS = {"i": 4, "j": 4, "l": 8, "m": 8, "s": 2, "t": 2, "x": 8, "y": 8, "b": 1, "c": 1, "h": 1}
_SIGNED = "ilsxc"


@dataclass(frozen=True, slots=True)
class Thrown:
    """`type` for people; `text` of what(), "" where it is not known."""

    type: str
    text: str
    evidence: list[Evidence]

    @property
    def words(self) -> str:
        """`std::runtime_error: "no such shelf"`."""
        return self.type + (f": {self.text}" if self.text else "")


def find_thrown(scene: Scene, where: range) -> Thrown | None:
    """The exception in flight, by what the stack there and the registers point to; None where
    there is none, or more than one."""
    if scene.arch.long != 8:
        return None
    found = dict(_headers(scene, where))
    if len(found) > 1:
        found = {at: one for at, one in found.items() if _number(scene, at - _CAUGHT, 4) == 1}
    if len(found) != 1:
        return None
    header, runtime = next(iter(found.items()))
    return _thrown(scene, header, runtime)


def _headers(scene: Scene, where: range) -> Iterator[tuple[int, str]]:
    """(address of its _Unwind_Exception, runtime) of each living exception pointed to."""
    values = [scene.registers.get(name, 0) for name in scene.arch.pointer_registers]
    values += [value for _, value in stack_words(scene, where)]
    tried = set()
    for value in values:
        if value % 16 or value in tried:
            continue
        tried.add(value)
        place = scene.places.find(value)
        if place is None or not place.writable or value in where:
            continue
        # the header itself, the object behind it, the whole record before it
        for header in (value, value - _HEADER, value + _TYPE, value + _COUNT):
            runtime = _CLASSES.get(_number(scene, header, 8) or 0)
            if runtime and _lives(scene, header):
                yield header, runtime


def _lives(scene: Scene, header: int) -> bool:
    """Whether it was not freed: free() writes over the count of references, which comes first."""
    count = _number(scene, header - _COUNT, 8)
    return count is None or 0 <= count < 1000


def _thrown(scene: Scene, header: int, runtime: str) -> Thrown | None:
    kind = scene.word(header - _TYPE)
    mangled = _type_name(scene, kind) if kind else ""
    if not kind or not mangled:
        return None
    readable = demangle("_ZTI" + mangled)
    if not readable.startswith("typeinfo for "):
        return None
    readable = readable.removeprefix("typeinfo for ").replace(
        "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char>>",
        "std::string",
    )
    text = _text(scene, kind, mangled, header + _HEADER)
    evidence = [
        seen("exception", header + _HEADER, f"an object of {readable}, thrown by {runtime}"),
        seen("its type", kind, mangled),
    ]
    return Thrown(readable, text, evidence)


def _type_name(scene: Scene, kind: int) -> str:
    """The mangled name in a std::type_info; a star before it marks one that is local."""
    name = scene.word(kind + 8)
    text = c_string(scene, name, _MAX_NAME).removeprefix("*") if name else ""
    return text if text.isascii() and not text.endswith("…") else ""


def _text(scene: Scene, kind: int, mangled: str, thing: int) -> str:
    """What the object says of itself, quoted; "" where we do not know its layout."""
    if mangled in ("PKc", "Pc"):
        pointer = scene.word(thing)
        return _quoted(c_string(scene, pointer)) if pointer else ""
    if mangled in _STRINGS:
        pointer, length = scene.word(thing), scene.word(thing + 8)
        return _quoted(counted_string(scene, pointer, length)) if pointer and length else ""
    if mangled in _NUMBERS:
        number = _number(scene, thing, _NUMBERS[mangled])
        if number is None:
            return ""
        bits = 8 * _NUMBERS[mangled]
        return str(number - (1 << bits) if mangled in _SIGNED and number >> bits - 1 else number)
    if _keeps_text(scene, kind, mangled):
        # behind the pointer to the functions: a pointer to the text (both runtimes)
        pointer = scene.word(thing + 8)
        return _quoted(c_string(scene, pointer)) if pointer else ""
    return ""


def _keeps_text(scene: Scene, kind: int, mangled: str) -> bool:
    """Whether its only base, or that one's, is std::runtime_error or std::logic_error. Types
    with one base are all described in the same way: their descriptions have the same functions."""
    functions = scene.word(kind)
    for _ in range(_MAX_BASES):
        if mangled in _TEXT_KEEPERS:
            return scene.word(kind) == functions
        base = scene.word(kind + 16)
        if not base or scene.word(base) is None:
            return False
        kind, mangled = base, _type_name(scene, base)
    return False


def _quoted(text: str) -> str:
    line = one_line(text)
    return f'"{line}"' if line else ""


def _number(scene: Scene, address: int, size: int) -> int | None:
    data = scene.memory(address, size) if address > 0 else b""
    return int.from_bytes(data, scene.arch.byte_order) if len(data) == size else None
