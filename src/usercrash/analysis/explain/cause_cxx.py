"""std::terminate(): C++ exceptions that nobody caught, or that left where they may not."""

from __future__ import annotations

from collections.abc import Sequence

from ...report import Cause, Frame
from .cxx_exception import Thrown, find_thrown
from .plain_names import caller_after
from .scene import Scene, cause, frame_words
from .stack_texts import stack_between

_TERMINATE = ("std::terminate", "__cxxabiv1::__terminate", "_ZSt9terminatev",
              "__gnu_cxx::__verbose_terminate_handler", "std::__terminate")  # fmt: skip
_THROWERS = (("__cxa_throw", "thrown"), ("__cxa_rethrow", "thrown again"),
             ("std::rethrow_exception", "thrown again"))  # fmt: skip
_NOEXCEPT = ("__cxa_call_terminate", "__clang_call_terminate")
_UNWINDER = ("__gxx_personality_v0", "_Unwind_RaiseException", "_Unwind_RaiseException_Phase2",
             "_Unwind_Resume", "_Unwind_Resume_or_Rethrow", "__cxa_throw",
             "__cxa_rethrow")  # fmt: skip
_LOST = "Its type and text went to standard error only; they are not in memory that we know."


def terminated(
    scene: Scene, frames: Sequence[Frame], names: Sequence[str], first: str, by: str,
    message: str | None,
) -> Cause | None:  # fmt: skip
    """The cause if std::terminate() ended the program: who called it, with which exception."""
    if "__cxa_pure_virtual" in names:
        return None
    personal = _by_personality(frames, names)
    named = any(name in _TERMINATE for name in names)
    if not personal and not named and not _by_thrower(frames, names):
        return None
    destroyed = [name for name in names if name.endswith("thread::~thread")]
    if destroyed:
        owner = caller_after(frames, names, destroyed)
        where = f", in {frame_words(owner)}" if owner else by
        return cause("abort", f"std::thread destroyed while it still ran{where}",
                     reason="joinable-thread", message=message)  # fmt: skip
    thrown = _thrown(scene, names)
    of_type = f": {thrown.words}" if thrown else ""
    lost = "" if thrown else _LOST
    evidence = thrown.evidence if thrown else []
    if personal or any(name in _NOEXCEPT for name in names):
        victim = caller_after(frames, names, (*_NOEXCEPT, *_UNWINDER))
        where = f", thrown through {frame_words(victim)}" if victim else ""
        return cause("abort", f"C++ exception left a function that may not throw{of_type}{where}",
                     lost, reason="noexcept", message=message, evidence=evidence)  # fmt: skip
    for function, verb in _THROWERS:
        if function in names:
            thrower = caller_after(frames, names, (function,))
            where = f", {verb} in {frame_words(thrower)}" if thrower else ""
            return cause("abort", f"C++ exception that nobody caught{of_type}{where}", lost,
                         reason="uncaught-exception", message=message,
                         evidence=evidence)  # fmt: skip
    caller = caller_after(frames, names, _TERMINATE)
    where = f", called by {frame_words(caller)}" if caller else ""
    return cause("abort", f"std::terminate(){where}", lost,
                 reason="terminate", message=message)  # fmt: skip


def _by_personality(frames: Sequence[Frame], names: Sequence[str]) -> bool:
    """Whether the search for a handler itself ended the program: it came to a function that may not
    throw. The functions between have no names in a libstdc++ without symbols."""
    if "__gxx_personality_v0" not in names:
        return False
    at = names.index("__gxx_personality_v0")
    inside = [frame for frame in frames[:at] if _is_library(frame)]
    return bool(inside) and any(name in ("abort", "__GI_abort") for name in names[:at])


def _by_thrower(frames: Sequence[Frame], names: Sequence[str]) -> bool:
    """Whether nothing but functions of the C++ library without names stands between what threw
    and what aborted: as in a libc++abi without symbols."""
    at = next((number for number, name in enumerate(names) if name in dict(_THROWERS)), 0)
    inside = [number for number in range(at) if _is_library(frames[number])]
    if not inside or any(frames[number].function for number in inside):
        return False
    return inside == list(range(inside[0], at)) and names[inside[0] - 1] in ("abort", "__GI_abort")


def _is_library(frame: Frame) -> bool:
    base = (frame.module or "").rpartition("/")[2]
    return base.startswith(("libstdc++.so", "libc++abi.so", "libc++.so"))


def _thrown(scene: Scene, names: Sequence[str]) -> Thrown | None:
    """The exception that the frames down to the one that threw it have to do with."""
    known = {*dict(_THROWERS), *_TERMINATE, *_UNWINDER}
    last = max((number for number, name in enumerate(names) if name in known), default=0)
    where = stack_between(scene, 0, last + 1)
    return find_thrown(scene, where) if where is not None else None
