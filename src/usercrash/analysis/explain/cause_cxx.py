"""std::terminate(): C++ exceptions that nobody caught, or that left where they may not."""

from __future__ import annotations

from collections.abc import Sequence

from ...function_identity import function_identity
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
# By the end of a member function's name: what joinable threads end the program by
_OF_THREADS = (
    ("thread::~thread", "joinable-thread", "std::thread destroyed while it still ran"),
    ("thread::operator=", "joinable-thread",
     "std::thread was given another thread while it still ran"),
)  # fmt: skip
_LOST = "Its type and text went to standard error only; they are not in memory that we know."


def terminated(
    scene: Scene, frames: Sequence[Frame], names: Sequence[str], first: str, by: str,
    message: str | None,
) -> Cause | None:  # fmt: skip
    """The cause if std::terminate() ended the program: who called it, with which exception."""
    if "__cxa_pure_virtual" in names:
        return None
    personal = _by_personality(frames, names)
    throws = next(((name, verb) for name, verb in _THROWERS if name in names), None)
    named = any(name in _TERMINATE for name in names)
    if not personal and not named and not _by_thrower(frames, names):
        return None
    for member, reason, words in _OF_THREADS:
        called = [name for name in names if name.endswith(member)]
        if called:
            owner = caller_after(frames, names, called)
            where = f", in {frame_words(owner)}" if owner else by
            return cause("abort", words + where, reason=reason, message=message)
    direct = throws is None and not personal and not any(name in _NOEXCEPT for name in names)
    thrown = _thrown(scene, names, surely=direct)
    of_type = f": {thrown.words}" if thrown else ""
    lost = "" if thrown else _LOST
    evidence = thrown.evidence if thrown else []
    if personal or any(name in _NOEXCEPT for name in names):
        victim = caller_after(frames, names, (*_NOEXCEPT, *_UNWINDER))
        where = f", thrown through {frame_words(victim)}" if victim else ""
        return cause("abort", f"C++ exception left a function that may not throw{of_type}{where}",
                     lost, reason="noexcept", message=message, evidence=evidence)  # fmt: skip
    if throws is not None:
        where = _thrower(frames, names, *throws)
        words = "C++ exception that nobody caught"
        if thrown is None and throws[0] == "__cxa_rethrow":
            words, lost = (
                "an exception thrown again that nobody caught, or there was none",
                "",
            )
        return cause("abort", f"{words}{of_type}{where}", lost,
                     reason="uncaught-exception", message=message, evidence=evidence)  # fmt: skip
    caller = caller_after(frames, names, _TERMINATE)
    where = f", called by {frame_words(caller)}" if caller else ""
    handled = f", while an exception was handled{of_type}" if thrown else ""
    return cause("abort", f"std::terminate(){where}{handled}",
                 reason="terminate", message=message, evidence=evidence)  # fmt: skip


def _thrower(frames: Sequence[Frame], names: Sequence[str], function: str, verb: str) -> str:
    """`, thrown in FUNCTION`: the first that is none of the standard library's, else the first."""
    last = max(number for number, name in enumerate(names) if name == function)
    found = own_after(frames, last + 1) or next(iter(frames[last + 1 :]), None)
    return f", {verb} in {frame_words(found)}" if found else ""


def own_after(frames: Sequence[Frame], first: int) -> Frame | None:
    """The first frame from there on that is none of the C++ library's."""
    return next((frame for frame in frames[first:] if not _of_standard_library(frame)), None)


def _of_standard_library(frame: Frame) -> bool:
    name = function_identity(frame.function or "")
    return _is_library(frame) or name.startswith(("std::", "__cxa_", "__gnu_cxx::"))


def _by_personality(frames: Sequence[Frame], names: Sequence[str]) -> bool:
    """Whether the search for a handler itself ended the program: it came to a function that may not
    throw. The functions between have no names in a libstdc++ without symbols."""
    if "__gxx_personality_v0" not in names:
        return False
    at = names.index("__gxx_personality_v0")
    inside = [frame for frame in frames[:at] if _is_library(frame)]
    return bool(inside) and any(name in ("abort", "__GI_abort") for name in names[:at])


def _by_thrower(frames: Sequence[Frame], names: Sequence[str]) -> bool:
    """Whether what threw called nothing but functions of the C++ library without names: as in a
    libc++abi without symbols. They abort, or call the program's own handler."""
    at = next((number for number, name in enumerate(names) if name in dict(_THROWERS)), 0)
    called = 0
    while called < at and _is_library(frames[at - called - 1]):
        called += 1
        if frames[at - called].function:
            return False
    return called > 0


def _is_library(frame: Frame) -> bool:
    base = (frame.module or "").rpartition("/")[2]
    return base.startswith(("libstdc++.so", "libc++abi.so", "libc++.so"))


def _thrown(scene: Scene, names: Sequence[str], surely: bool) -> Thrown | None:
    """The exception that the frames down to the one that threw it have to do with."""
    known = {*dict(_THROWERS), *_TERMINATE, *_UNWINDER}
    last = max((number for number, name in enumerate(names) if name in known), default=0)
    where = stack_between(scene, 0, last + 1)
    return find_thrown(scene, where, surely) if where is not None else None
