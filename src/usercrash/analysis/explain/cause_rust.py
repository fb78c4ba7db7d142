"""A Rust panic that ends the program: its message and place, found in the frames of the functions
that carry them to the panic's hook.

The message is a `String` that was made for the hook (capacity, pointer, length in some order), or
a text in constant memory (pointer, length). `Location` (core/src/panic/location.rs) is pointer and
length of the file's name, line, column.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from ...report import Cause, Evidence, Frame
from .scene import Scene, cause, frame_words, seen
from .stack_texts import counted_string, one_line, stack_between, stack_words

_BEGINS = re.compile(r"(__rustc::)?rust_panic$|std::panicking::rust_panic$")
_CARRIES = re.compile(
    r"(__rustc::)?(rust_panic|rust_begin_unwind)$"
    r"|std::panicking::(?!catch_unwind|try)"
    r"|std::sys(_common)?::backtrace::__rust_end_short_backtrace"
    r"|core::panicking::|core::(option|result)::\w+_failed|core::(slice|str)::\w+::\w+_fail"
)
_LIBRARY = ("core::", "alloc::", "std::", "<")
_MAX_LOCATIONS = 4
_OF_LIBRARY = ("library/", "/rustc/")


def rust_panic(scene: Scene, frames: Sequence[Frame], names: Sequence[str]) -> Cause | None:
    """The cause if a Rust panic ended the program by abort()."""
    first = next((number for number, name in enumerate(names) if _BEGINS.match(name)), None)
    if first is None:
        return None
    last = first
    while last + 1 < len(names) and _CARRIES.match(names[last + 1]):
        last += 1
    evidence = [seen("function", names[first], "on the stack")]
    text, place = "", ""
    where = stack_between(scene, first, last)
    if where is not None and scene.arch.long == 8:
        words = list(stack_words(scene, where))
        place = _place(scene, words)
        text = one_line(_text(scene, words, place))
        evidence += _found(text, place)
    caller = _caller(frames[last + 1 :], names[last + 1 :])
    at = f", at {place}" if place else ""
    by = f" in {frame_words(caller)}" if caller and not place else ""
    if caller and place:
        by = f" in {(caller.function or caller.pc).partition('(')[0]}"
    return cause(
        "abort", f"a Rust panic{by}{at}" + (f": {text}" if text else ""),
        "The program was built to abort on a panic, or it panicked where it could not unwind.",
        reason="rust-panic", evidence=evidence,
    )  # fmt: skip


def _found(text: str, place: str) -> list[Evidence]:
    found = [seen("message in memory", text)] if text else []
    return found + ([seen("place in memory", place)] if place else [])


def _caller(frames: Sequence[Frame], names: Sequence[str]) -> Frame | None:
    """The first frame that is none of the standard library's."""
    for frame, name in zip(frames, names, strict=True):
        if name and not name.startswith(_LIBRARY):
            return frame
    return None


def _place(scene: Scene, words: Sequence[tuple[int, int]]) -> str:
    """`file.rs:line:column` of the one Location that the words point to, those of the program's
    own before the library's; "" where there is none, or more than one."""
    found: dict[str, None] = {}
    for value in dict.fromkeys(value for _, value in words):
        place = scene.places.find(value)
        if place is None or value % 8:
            continue
        name, length, numbers = (scene.word(value + at) for at in (0, 8, 16))
        if not name or not length or not numbers or not 4 <= length <= 1024:
            continue
        file = counted_string(scene, name, length) if scene.places.find(name) else ""
        line, column = numbers & 0xFFFFFFFF, numbers >> 32
        if file.endswith(".rs") and 0 < line < 1 << 22 and 0 < column < 1 << 16:
            found[f"{file}:{line}:{column}"] = None
            if len(found) == _MAX_LOCATIONS:
                break
    own = [one for one in found if not one.startswith(_OF_LIBRARY)]
    candidates = own or list(found)
    return candidates[0] if len(candidates) == 1 else ""


def _text(scene: Scene, words: Sequence[tuple[int, int]], place: str) -> str:
    """The message; "" unless there is one text for which more speaks than for any other."""
    values = [value for _, value in words]
    made: Counter[str] = Counter()
    for a, b, c in zip(values, values[1:], values[2:], strict=False):
        # String: its fields come in any order that the compiler likes
        for capacity, pointer, length in ((a, b, c), (b, a, c), (c, a, b)):
            heap = scene.places.find(pointer)
            if 3 <= length <= capacity <= 1 << 16 and heap is not None and heap.writable:
                made[counted_string(scene, pointer, length)] += 1
    return _best(made, place) or _best(_constants(scene, values), place)


def _constants(scene: Scene, values: Sequence[int]) -> Counter[str]:
    """Texts in constant memory, by how many pairs of words can mean them: `&str` has the length,
    fmt::Arguments of a text without values the length, shifted, and a bit beside it."""
    found: Counter[str] = Counter()
    for pointer, number in pairwise(values):
        constant = scene.places.find(pointer)
        if constant is None or constant.writable:
            continue
        for length in (number, number >> 1 if number & 1 else 0):
            if 3 <= length <= 1 << 12:
                found[counted_string(scene, pointer, length)] += 1
    return found


def _best(found: Counter[str], place: str) -> str:
    """The text that was found most often; "" for none, or for several."""
    texts = [(count, text) for text, count in found.items()
             if text and not text.endswith(".rs") and text not in place]  # fmt: skip
    most = max((count for count, _ in texts), default=0)
    best = [text for count, text in texts if count == most]
    return best[0] if len(best) == 1 else ""
