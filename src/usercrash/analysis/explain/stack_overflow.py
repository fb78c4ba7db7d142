"""Whether a fault is the end of a stack: of the main thread's or of another's."""

from __future__ import annotations

from itertools import pairwise

from ...model.maps import Mapping
from ...report import Cause
from ..core.places import count_bytes
from ..facts.proc_texts import number
from .scene import Scene, cause

_BOTTOM = 256  # a stack pointer this near to its stack's lowest byte has no room for a call
_BELOW = 64 << 10  # how far below the stack pointer an overflow touches (red zone, large pushes)
_PAGE = 4096
_FRAME = 64 << 20  # the largest local variables that we believe in
_ABOVE_CYCLE = 32  # frames of what a recursion called last
_NAMED = 5  # functions of a cycle that are called by their names
_GAP = 1 << 20  # the kernel's guard gap below the main stack, as it is by default


def stack_overflow(scene: Scene, address: int) -> Cause | None:
    """The cause if the address lies below a stack that has no room left, else None.

    A thread has run out of stack when its stack pointer is at the very end of the stack or
    below it, and the address is near the stack pointer: in the guard, or unmapped.
    """
    place = scene.places.find(address)
    if place is not None and not _is_guard(place):
        return _out_of_its_memory(scene, address, place)
    stack = _stack_above(scene, address, place)
    if stack is None or not _out_of_room(scene.sp, address, stack):
        return None
    here = scene.places.find(scene.sp)
    if here is not None and here.writable and here.start != stack.start:
        return None  # it stands on a stack that has room; the other mapping is none
    own = _is_own(scene, stack)
    size = count_bytes(stack.size)
    recursion = _recursion(scene)
    whose = "the main thread's stack" if scene.main_thread else "this thread's stack"
    below = f"{count_bytes(stack.start - address)} below the stack"
    certain = own or bool(recursion)
    if not own:
        # (the kernel joins it with what was mapped beside it in the same way)
        whose, size = "a stack", f"at most {size}"
    used_up = f"of {size} is used up" + (f", {recursion}" if recursion else "")
    return cause(
        "stack-overflow",
        f"stack overflow: {whose} {_too_large(scene, stack) or used_up}",
        f"It touched {address:#x}, {below}"
        + (", in the guard that the stack ends with." if place is not None else "."),
        _limit_words(scene, address, stack),
        reason="recursion" if recursion else "no-room",
        certainty="certain" if certain else "likely",
    )


def _out_of_its_memory(scene: Scene, address: int, place: Mapping) -> Cause | None:
    """A stack that the program made itself has no guard: a recursion on it writes on over what
    lies below, until that cannot be written."""
    if place.writable or not 0 <= address - scene.sp + _BELOW < 2 * _BELOW:
        return None
    stack = scene.places.above(address)
    if stack is None or stack.start != place.end or not stack.writable:
        return None
    recursion = _recursion(scene, innermost=True)
    if not recursion or scene.sp > stack.start + _BOTTOM or _is_own(scene, stack):
        return None
    return cause(
        "stack-overflow",
        f"stack overflow: a stack without a guard below it was left, {recursion}",
        f"It touched {address:#x}, {scene.places.where(address)}; what lies between that and the "
        "stack has been overwritten.",
        reason="recursion",
        certainty="likely",
    )


def _stack_above(scene: Scene, address: int, place: Mapping | None) -> Mapping | None:
    """The writable mapping above the address, with nothing but a guard between."""
    above = scene.places.above(address)
    if place is not None:
        if above is None or above.start != place.end:
            return None
    elif above is not None and _is_guard(above):
        guard, above = above, scene.places.above(above.start)
        if above is None or above.start != guard.end:
            return None
    if above is None or not above.writable or above.start - address > _FRAME:
        return None
    return above


def _is_guard(place: Mapping) -> bool:
    """Anonymous memory that cannot be written (gdb's cores call it readable)."""
    return not place.writable and not place.path and not place.executable


def _out_of_room(sp: int, address: int, stack: Mapping) -> bool:
    if not stack.start - _FRAME <= sp <= stack.start + _BOTTOM:
        return False
    return sp - _BELOW <= address < max(stack.start, sp)


def _too_large(scene: Scene, stack: Mapping) -> str:
    """What a large frame that goes beyond the stack's end takes, "" if there is none such. (The
    main thread's stack is as large as it was needed before.)"""
    real = [frame for frame in scene.frames if not frame.inline and frame.sp is not None]
    for frame, caller in pairwise(real[:_ABOVE_CYCLE]):
        low, high = int(frame.sp or "0", 16), int(caller.sp or "0", 16)
        if low < stack.start <= high and high - low >= _BELOW and caller.index == frame.index + 1:
            name = (frame.function or frame.pc).partition("(")[0]
            pages = count_bytes(high - low + _PAGE - 1 & -_PAGE)
            return f"has no room for the {pages} that {name} takes at once"
    return ""


def _is_own(scene: Scene, stack: Mapping) -> bool:
    if scene.main_thread:
        return stack.path == b"[stack]"
    return stack.start <= scene.tcb < stack.end


def _recursion(scene: Scene, innermost: bool = False) -> str:
    """`by 34,921 calls of f` or `by 12 rounds of f, g`; without a regular order, `by 34,921 calls
    of f, g`."""
    changing = scene.recursion
    if changing is not None:
        near = {one.function for one in scene.frames if one.index <= _ABOVE_CYCLE}
        if innermost and not near.intersection(changing.functions):
            return ""
        calls = f"by {'' if changing.whole else 'at least '}{changing.calls:,} calls of "
        names = [function.partition("(")[0] for function in changing.functions]
        return calls + (", ".join(names) if len(names) <= _NAMED else f"{len(names)} functions")
    folds = [fold for fold in scene.folds if fold.times >= 10]
    if innermost:
        folds = [fold for fold in folds if fold.start <= _ABOVE_CYCLE]
    if not folds:
        return ""
    fold = max(folds, key=lambda one: one.times * one.length)
    functions = [
        (frame.function or frame.pc).partition("(")[0]
        for frame in scene.frames
        if fold.start <= frame.index < fold.start + fold.length and not frame.inline
    ]
    names = list(dict.fromkeys(functions))
    if len(names) == 1:
        return f"by {fold.times * len(functions):,} calls of {names[0]}"
    if 2 <= len(names) <= _NAMED:
        return f"by {fold.times:,} rounds of {', '.join(names)}"
    return f"by {fold.times:,} rounds of {max(len(names), fold.length)} functions"


def _limit_words(scene: Scene, address: int, stack: Mapping) -> str:
    soft = scene.limits.get("Max stack size", "")
    limit = number(soft.encode("ascii", "replace"))
    if not scene.main_thread or limit is None or stack.path != b"[stack]":
        return ""
    if stack.end - address >= limit or stack.size + _GAP + _BELOW >= limit:
        return f"The limit is {count_bytes(limit)} (ulimit -s)."
    return f"The limit is {count_bytes(limit)}; another mapping was in the way."
