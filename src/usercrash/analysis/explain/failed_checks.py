"""What was checked, where a check's function ended the program: its condition, file and line are
constants in the code that calls it, or stand in a record on the stack (libc++)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...report import Frame
from ..instructions.call_constants import ARGUMENTS, call_constants
from .scene import Scene
from .stack_texts import c_string, stack_between, stack_words

# By function: which of its arguments are condition, file, line, function (-1: none)
_ARGUMENTS = {
    "__assert_fail": (0, 1, 2, 3),  # glibc, musl (assert.h)
    "std::__glibcxx_assert_fail": (3, 0, 1, 2),  # libstdc++ (bits/c++config.h)
    "std::__replacement_assert": (3, 0, 1, 2),
    "ExceptionalCondition": (0, 1, 2, -1),  # PostgreSQL (utils/error/assert.c)
    "qt_assert": (0, 1, 2, -1),
    "qt_assert_x": (1, 2, 3, 0),
}
_LIBCPP = "std::__1::__libcpp_abort_debug_function"
_VERBOSE = "std::__1::__libcpp_verbose_abort"
CHECKS = (*_ARGUMENTS, _LIBCPP, _VERBOSE)
_WHOLE = re.compile(r"([^\n]{1,400}?):(\d{1,7}): [^:]{0,40}assertion (.{1,400}?) failed")
_MAX_LINE = 1 << 22


@dataclass(frozen=True, slots=True)
class Check:
    """A condition that did not hold, and where it stands."""

    condition: str
    file: str
    line: int
    function: str = ""
    how: str = "an argument of the call"

    @property
    def words(self) -> str:
        """`shelf.c:42: books > 0`."""
        return f"{self.file.rpartition('/')[2]}:{self.line}: {self.condition}"


def failed_check(scene: Scene, frames: Sequence[Frame], names: Sequence[str]) -> Check | None:
    """The check of the innermost function of CHECKS, None where it cannot be told."""
    at = next((number for number, name in enumerate(names) if name in CHECKS), None)
    if at is None:
        return None
    if names[at] == _LIBCPP:
        return _record(scene, at)
    back = next((int(one.pc, 16) for one in frames[at + 1 :] if one.pc != frames[at].pc), 0)
    constants = call_constants(scene.memory, scene.arch, back)
    values = [constants.get(name) for name in ARGUMENTS]
    if names[at] == _VERBOSE:
        return _formatted(scene, values)
    condition, file, line, function = _ARGUMENTS[names[at]]
    return _check(
        scene, values[condition], values[file], values[line],
        values[function] if function >= 0 else None,
    )  # fmt: skip


def _check(
    scene: Scene, condition: int | None, file: int | None, line: int | None, function: int | None
) -> Check | None:
    if not condition or not file or line is None or not 0 < line < _MAX_LINE:
        return None
    words, path = _constant(scene, condition), _constant(scene, file)
    if not words or not path:
        return None
    return Check(words, path, line, _constant(scene, function) if function else "")


def _constant(scene: Scene, address: int) -> str:
    place = scene.places.find(address)
    return c_string(scene, address) if place is not None and not place.writable else ""


def _formatted(scene: Scene, values: Sequence[int | None]) -> Check | None:
    """libc++ from version 15 on: `%s:%d: assertion %s failed: %s`, and what belongs to it."""
    form = _constant(scene, values[0]) if values[0] else ""
    if form == "%s":  # from version 19 on
        found = _WHOLE.match(_constant(scene, values[1]) if values[1] else "")
        return Check(found[3], found[1], int(found[2])) if found else None
    if not form.startswith("%s:%d: assertion %s failed"):
        return None
    return _check(scene, values[3], values[1], values[2], None)


def _record(scene: Scene, at: int) -> Check | None:
    """libc++ until version 14: __libcpp_debug_info on its caller's stack: file, line, condition,
    message."""
    behind = range(at + 1, len(scene.frames))
    caller = next((number for number in behind if not scene.frames[number].inline), None)
    where = stack_between(scene, at, caller) if caller is not None else None
    if where is None:
        return None
    found: dict[Check, None] = {}
    for address, file in stack_words(scene, where):
        line, condition = scene.word(address + 8), scene.word(address + 16)
        if line is None or condition is None or not file:
            continue
        check = _check(scene, condition, file, line & 0xFFFFFFFF, None)
        if check is not None:
            found[check] = None
    if len(found) != 1:
        return None
    one = next(iter(found))
    return Check(one.condition, one.file, one.line, how="in a record on the stack")
