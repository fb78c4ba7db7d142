"""Go programs that ended themselves (with GOTRACEBACK=crash, or by a signal that Go passes on): the
value of a panic and the text of a fatal error, from the goroutine's stack.

Layouts: runtime/runtime2.go (`_panic`: argp, arg, …; an interface is type and data, a string
pointer and length), runtime/type.go or internal/abi/type.go (`_type.kind`, the 24th byte),
runtime/error.go (`boundsError`). Arguments in registers are kept in places that the caller
reserves (abi-internal.md, spill area).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...report import Cause, Evidence, Frame
from .scene import Scene, cause, frame_sp, frame_words, seen
from .stack_texts import counted_string, one_line, stack_words

_THROWS = ("runtime.throw", "runtime.fatal")
_ENDING = ("runtime.fatalthrow", "runtime.fatalpanic")
_BOUNDS_CHECKS = ("runtime.goPanic", "runtime.panicIndex", "runtime.panicSlice")
_OF_C = ("abort", "__GI_abort")  # C code that Go code called ended the program
# What the runtime always says where these functions panic (runtime/panic.go)
_SAID = {
    "runtime.panicmem": "invalid memory address or nil pointer dereference",
    "runtime.panicmemAddr": "invalid memory address or nil pointer dereference",
    "runtime.panicdivide": "integer divide by zero",
    "runtime.panicoverflow": "integer overflow",
}
_KIND, _KIND_MASK = 23, 31
_STRING, _POINTER, _STRUCT, _INT = 24, 22, 25, 2
_SPILLED = 64  # bytes of the caller's frame where arguments may be kept
_MAX = 1 << 12
_BOUNDS = "index out of range [{0}] with length {1}"


def go_end(scene: Scene, frames: Sequence[Frame], names: Sequence[str]) -> Cause | None:
    """The cause if Go's runtime ended the program."""
    ends = ("runtime.gopanic", *_THROWS)
    at = next((number for number, name in enumerate(names) if name in ends), -1)
    if at < 0:
        # (on its way the runtime may have changed to another stack, which tells no more)
        at = next((number for number, name in enumerate(names) if name.startswith(_ENDING)), -1)
    if at < 0 or any(name in _OF_C for name in names[:at]):
        return None
    if names[at] == "runtime.gopanic":
        text = next((_SAID[name] for name in names[at:] if name in _SAID), "")
        checked = any(name.startswith(_BOUNDS_CHECKS) for name in names[at + 1 : at + 3])
        text = text or _panic(scene, frames, at, checked)
        return _told(frames, names, at, "a Go panic", "go-panic", text)
    if names[at].startswith("runtime.fatalpanic"):
        return _told(frames, names, at, "a Go panic", "go-panic", "")
    words = "fatal error in the Go runtime"
    return _told(frames, names, at, words, "go-fatal", _thrown(scene, frames, at))


def _told(
    frames: Sequence[Frame], names: Sequence[str], at: int, words: str, reason: str,
    text: str,
) -> Cause:  # fmt: skip
    caller = next((frame for frame, name in zip(frames[at:], names[at:], strict=True)
                   if name and not name.startswith("runtime.")), None)  # fmt: skip
    where = f", in {frame_words(caller)}" if caller else ""
    evidence: list[Evidence] = [seen("function", names[at], "on the stack")]
    if text:
        evidence.append(seen("what it said", text))
    return cause(
        "abort", words + where + (f": {text}" if text else ""), reason=reason, evidence=evidence
    )


def _range(frames: Sequence[Frame], at: int) -> range | None:
    """The stack of frame number `at`."""
    low = frame_sp(frames[at])
    high = next((sp for frame in frames[at + 1 :] if (sp := frame_sp(frame)) is not None), None)
    if low is None or high is None or not low < high <= low + _MAX:
        return None
    return range(low, high)


def _panic(scene: Scene, frames: Sequence[Frame], at: int, checked: bool) -> str:
    """The panic's value: of the one `_panic` in gopanic's frame that this frame, or the one that it
    called, points to. `checked`: a check of the runtime's found an index out of its range."""
    own = _range(frames, at)
    if own is None or scene.arch.long != 8 or not at:
        return ""
    start = frame_sp(frames[at - 1]) or own.start
    pointers = {value for _, value in stack_words(scene, range(min(start, own.start), own.stop))
                if value in own and value % 8 == 0}  # fmt: skip
    found = {text for pointer in pointers if (text := _value(scene, pointer + 8, checked))}
    return one_line(found.pop()) if len(found) == 1 else ""


def _value(scene: Scene, address: int, checked: bool) -> str:
    """The text of an interface's value, "" for one of a type that has none we know."""
    kind_of, data = scene.word(address), scene.word(address + 8)
    if not kind_of or not data:
        return ""
    place = scene.places.find(kind_of)
    described = scene.memory(kind_of, _KIND + 1)
    if place is None or place.writable or len(described) <= _KIND:
        return ""
    kind = described[_KIND] & _KIND_MASK
    if kind in (_STRING, _POINTER):  # (a pointer: to an error that begins with its text)
        return _string(scene, data)
    if kind == _INT:
        number = scene.word(data)
        return "" if number is None else str(number - (1 << 64) if number >> 63 else number)
    if checked and kind == _STRUCT and int.from_bytes(described[:8], "little") == 24:
        return _bounds(scene, data)
    return ""


def _string(scene: Scene, address: int) -> str:
    pointer, length = scene.word(address), scene.word(address + 8)
    if not pointer or not length or length > _MAX or scene.places.find(pointer) is None:
        return ""
    return counted_string(scene, pointer, length)


def _bounds(scene: Scene, address: int) -> str:
    """`boundsError`: index, length, whether signed, a code (0: an index)."""
    index, length = scene.word(address), scene.word(address + 8)
    rest = scene.memory(address + 16, 2)
    if index is None or length is None or len(rest) < 2 or rest[0] > 1 or rest[1] != 0:
        return ""
    return _BOUNDS.format(index - (1 << 64) if rest[0] and index >> 63 else index, length)


def _thrown(scene: Scene, frames: Sequence[Frame], at: int) -> str:
    """The one text in constant memory whose pointer and length are kept for throw()."""
    own = _range(frames, at)
    if own is None or scene.arch.long != 8:
        return ""
    found = set()
    for address, pointer in stack_words(scene, range(own.start, own.stop + _SPILLED)):
        place = scene.places.find(pointer)
        if place is None or place.writable or place.executable:
            continue
        length = scene.word(address + 8)
        if length and 3 <= length <= 200:
            found.add(counted_string(scene, pointer, length))
    found.discard("")
    return one_line(found.pop()) if len(found) == 1 else ""
