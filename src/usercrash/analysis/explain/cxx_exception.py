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
from struct import calcsize, unpack

from ...report import Evidence
from ..symbols.demangle import demangle
from .scene import Scene, seen
from .stack_texts import c_string, counted_string, known_text, one_line, stack_words

# (of an exception that std::rethrow_exception throws again the last byte is 1: its object is
# elsewhere)
_CLASSES = {0x474E5543432B2B00: "libstdc++", 0x434C4E47432B2B00: "libc++"}
_HEADER = 32  # sizeof(_Unwind_Exception)
_TYPE = 80  # how far before it the type stands
_COUNT = 96  # libstdc++: how far before it the count of references stands
_CAUGHT = 40  # handlerCount
_NEXT = 48  # nextException: what was being handled before
_GLOBALS = 2048  # below the thread's control block: where __cxa_eh_globals may be
_MAX_NAME = 2000
_MAX_BASES = 8
_TEXT_KEEPERS = ("St13runtime_error", "St11logic_error")
_STRING = "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"  # std::string: pointer, length
_LLVM_STRING = "NSt3__112basic_stringIcNS_11char_traitsIcEENS_9allocatorIcEEEE"
_SPELLED = (
    "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char>>",
    "std::__1::basic_string<char, std::__1::char_traits<char>, std::__1::allocator<char>>",
)
# Functions that give the text as it was kept
_KEEPING = ("std::runtime_error::what", "std::logic_error::what", "std::future_error::what")
_STRING_SIZE = {_STRING: 32, _LLVM_STRING: 24}
_MAX_OBJECT = 96  # bytes of it in which a text is looked for
_FLOATS = {"f": "<f", "d": "<d"}
_NUMBERS = {"i": 4, "j": 4, "l": 8, "m": 8, "s": 2, "t": 2, "x": 8, "y": 8, "b": 1, "c": 1, "h": 1}
_SIGNED = "ilsxc"
_PLAIN = frozenset(("PKc", "Pc", *_STRING_SIZE, *_FLOATS, *_NUMBERS))  # no classes with members


@dataclass(frozen=True, slots=True)
class Thrown:
    """`type` for people; `text` of what(), "" where it is not known; `holds`: a text that stands in
    the object, and may be less, or other, than what() gives."""

    type: str
    text: str
    evidence: list[Evidence]
    holds: str = ""

    @property
    def words(self) -> str:
        """`std::runtime_error: "no such shelf"`."""
        if self.text:
            return f"{self.type}: {self.text}"
        return self.type + (f", which holds the text {self.holds}" if self.holds else "")


def find_thrown(scene: Scene, where: range, surely: bool = False) -> Thrown | None:
    """The exception in flight, by what the stack there and the registers point to; None where
    there is none, or more than one. With `surely` only one of which its runtime says that it is
    handled now."""
    if scene.arch.long != 8:
        return None
    found = dict(_headers(scene, where))
    if surely:
        found = _in_thread(scene, found) or {
            at: runtime
            for at, runtime in found.items()
            if runtime == "libc++" and _number(scene, at - _CAUGHT, 4)
        }
    if len(found) > 1:
        found = _innermost(scene, found)
    if len(found) != 1:
        return None
    header, runtime = next(iter(found.items()))
    return _thrown(scene, header, runtime)


def _innermost(scene: Scene, found: dict[int, str]) -> dict[int, str]:
    """The one that the thread handles: std::terminate() is called as if from a handler. libstdc++
    keeps it in a variable of the thread (caughtExceptions), which points to the record that ends
    with the header. libc++abi's is elsewhere, but there what was handled counts no handler."""
    if one := _in_thread(scene, found):
        return one
    found = {at: one for at, one in found.items() if _number(scene, at - _CAUGHT, 4) != 0}
    before = {scene.word(at - _NEXT) for at in found}  # (each leads to those that wait for it)
    return {at: one for at, one in found.items() if not before & {at - _TYPE, at - _COUNT}}


def _in_thread(scene: Scene, found: dict[int, str]) -> dict[int, str]:
    """The one whose record a variable of the thread points to."""
    records = {at - _TYPE: at for at in found}
    for address in range(scene.tcb - 8, max(scene.tcb - _GLOBALS, 0), -8):
        value = scene.word(address)
        if value is None:
            break
        if value in records:
            return {records[value]: found[records[value]]}
    return {}


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
    readable = readable.removeprefix("typeinfo for ")
    for spelled in _SPELLED:
        readable = readable.replace(spelled, "std::string")
    text, holds = _text(scene, kind, mangled, header + _HEADER), ""
    if text and not _says_what_it_keeps(scene, mangled, header + _HEADER):
        text, holds = "", text
    if not text and not holds and mangled not in _PLAIN:
        holds = _held_string(scene, header + _HEADER, _object_end(scene, header, runtime))
    evidence = [
        seen("exception", header + _HEADER, f"an object of {readable}, thrown by {runtime}"),
        seen("its type", kind, mangled),
    ]
    return Thrown(readable, text, evidence, holds)


def _type_name(scene: Scene, kind: int) -> str:
    """The mangled name in a std::type_info; a star before it marks one that is local."""
    name = scene.word(kind + 8)
    text = c_string(scene, name, _MAX_NAME).removeprefix("*") if name else ""
    return text if text.isascii() and not text.endswith("…") else ""


def _text(scene: Scene, kind: int, mangled: str, thing: int) -> str:
    """What the object says of itself, quoted; "" where we do not know its layout."""
    if mangled in ("PKc", "Pc"):
        pointer = scene.word(thing)
        return _quoted(known_text(scene, pointer)) if pointer else ""
    if mangled in _STRING_SIZE:
        return _quoted(_string_at(scene, thing, mangled))
    if mangled in _FLOATS:
        data = scene.memory(thing, calcsize(_FLOATS[mangled]))
        whole = len(data) == calcsize(_FLOATS[mangled])
        return f"{unpack(_FLOATS[mangled], data)[0]:g}" if whole else ""
    if mangled in _NUMBERS:
        number = _number(scene, thing, _NUMBERS[mangled])
        if number is None:
            return ""
        bits = 8 * _NUMBERS[mangled]
        return str(number - (1 << bits) if mangled in _SIGNED and number >> bits - 1 else number)
    if _keeps_text(scene, kind, mangled):
        # behind the pointer to the functions: a pointer to the text (both runtimes)
        pointer = scene.word(thing + 8)
        return _quoted(known_text(scene, pointer)) if pointer else ""
    return ""


def _string_at(scene: Scene, thing: int, mangled: str) -> str:
    """The text of a std::string, "" where that is no whole one."""
    if mangled == _STRING:
        pointer, length = scene.word(thing), scene.word(thing + 8)
        if not pointer or not length or (pointer == thing + 16 and length > 15):
            return ""
        return counted_string(scene, pointer, length)
    # (libc++: an odd first byte is part of a capacity, with length and pointer behind it; an even
    # one is twice the length of what follows)
    data = scene.memory(thing, _STRING_SIZE[mangled])
    if len(data) < _STRING_SIZE[mangled] or scene.arch.byte_order != "little":
        return ""
    if data[0] & 1:
        length, pointer = scene.word(thing + 8), scene.word(thing + 16)
        return counted_string(scene, pointer, length) if pointer and length else ""
    return counted_string(scene, thing + 1, data[0] >> 1) if 0 < data[0] >> 1 < 23 else ""


def _says_what_it_keeps(scene: Scene, mangled: str, thing: int) -> bool:
    """Whether what() is the one of the standard type that keeps the text: by the third of the
    object's virtual functions, behind the two destructors. Without names only the standard
    library's own types are believed."""
    if mangled in _PLAIN:
        return True
    functions = scene.word(thing)
    what = scene.word(functions + 16) if functions else None
    name = scene.function_at(what) if what else ""
    if name:
        return name.partition("(")[0] in _KEEPING
    return mangled.startswith("St")


def _object_end(scene: Scene, header: int, runtime: str) -> int:
    """The end of the thrown object's memory, by the block of malloc() that it lies in (glibc: the
    size stands before it), or _MAX_OBJECT bytes from its beginning."""
    most = header + _HEADER + _MAX_OBJECT
    if runtime != "libstdc++":
        return most
    block = header - _COUNT
    size = (_number(scene, block - 8, 8) or 0) & ~7
    end = block - 8 + size
    return min(most, end) if header + _HEADER <= end <= block + (1 << 20) else most


def _held_string(scene: Scene, thing: int, end: int) -> str:
    """The text of the first std::string among an object's members, or of a standard exception that
    is a base or a member of it."""
    for at in range(thing, end - 15, 8):
        kept = scene.word(at + 8)
        if kept and _says_what_it_keeps(scene, "", at) and (text := known_text(scene, kept)):
            return _quoted(text)
        for mangled, size in _STRING_SIZE.items():
            if at + size <= end and _may_be_string(scene, at, mangled):
                text = _string_at(scene, at, mangled)
                if len(text) > 1:
                    return _quoted(text)
    return ""


def _may_be_string(scene: Scene, at: int, mangled: str) -> bool:
    """Whether the words there agree with each other as those of a std::string do."""
    first, second, third = (scene.word(at + 8 * number) for number in range(3))
    if first is None or second is None or third is None:
        return False
    if mangled == _STRING:
        pointer, length, capacity = first, second, third
        if pointer == at + 16:  # the text is in itself
            return length <= 15 and scene.memory(at + 16 + length, 1) == b"\0"
    else:
        if not first & 1:
            length = first >> 1 & 0x7F
            return 1 < length < 23 and scene.memory(at + 1 + length, 1) == b"\0"
        pointer, length, capacity = third, second, first & ~1
    place = scene.places.find(pointer)
    whole = 1 < length <= capacity < 1 << 32 and place is not None and place.writable
    return whole and scene.memory(pointer + length, 1) in (b"\0", b"")


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
