"""The last words of a program that its libraries printed and that still stand in memory: Python's
fatal errors, GLib's fatal messages, reports of sanitizers.

Each is looked for only in the frames of the functions that had it, by the form that it has there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...report import Cause
from .plain_names import caller_after, plain_names
from .qt_message import qt_message
from .scene import Scene, cause, frame_words, seen
from .stack_texts import (
    c_string,
    frames_range,
    one_line,
    stack_between,
    stack_words,
    texts,
)

_DEPTH = 80
_PYTHON = ("_Py_FatalErrorFunc", "Py_FatalError", "_Py_FatalErrorFormat", "fatal_error",
           "fatal_error_exit")  # fmt: skip
_GLIB_ASSERT = ("g_assertion_message", "g_assertion_message_expr", "g_assertion_message_cmpnum",
                "g_assertion_message_cmpstr", "g_assertion_message_error")  # fmt: skip
_GLIB_LOG = ("g_log_structured_array", "g_log_structured", "g_log_structured_standard", "g_logv",
             "g_log", "g_log_default_handler", "_g_log_abort", "g_log_writer_default",
             "g_return_if_fail_warning", "g_warn_message")  # fmt: skip
_SANITIZER = re.compile(
    rb"(?:ERROR|WARNING|SUMMARY|FATAL): ?"
    rb"((?:Address|Leak|Memory|Thread|HWAddress|UndefinedBehavior)Sanitizer: [^\n\0]{3,200})"
)
_PRINTED, _HEAD = 4096, 512  # of stack, and of what it points to
_SEARCHED = 64 << 10  # bytes of stack in which a sanitizer's report is looked for


@dataclass(frozen=True, slots=True)
class Found:
    """A text that stands in memory."""

    text: str


def last_text(scene: Scene, reason: str) -> Found | None:
    """What the program said when it ended for this reason (of cause_abort), None where nothing is
    known for certain."""
    names = plain_names(scene.frames[:_DEPTH])
    if reason == "python-fatal":
        return _only(scene, names, _PYTHON, _is_sentence)
    if reason in ("assertion", "fatal-log"):
        found = _only(scene, names, _GLIB_ASSERT, _is_glib_assertion)
        found = found or _glib_message(scene, names)
        text = "" if found else qt_message(scene, names)
        return Found(text) if text else found
    if reason == "sanitizer":
        return _sanitizer(scene)
    return None


def fatal_log(scene: Scene) -> Cause | None:
    """The cause if a trap is the end of a fatal message to GLib's log."""
    names = plain_names(scene.frames[:_DEPTH])
    if not names or names[0] not in _GLIB_LOG:
        return None
    caller = caller_after(scene.frames, names, _GLIB_LOG)
    where = f", by {frame_words(caller)}" if caller else ""
    found = _glib_message(scene, names)
    text = f": {one_line(found.text)}" if found else ""
    return cause(
        "abort",
        f"a fatal message to GLib's log{where}{text}",
        "After g_error(), and what counts as that, GLib ends the program with int3.",
        reason="fatal-log",
        evidence=[seen("function", names[0], "stopped itself by int3")],
    )


def _only(
    scene: Scene, names: Sequence[str], functions: Sequence[str], wanted: Callable[[str], bool]
) -> Found | None:
    where = frames_range(scene, functions, names)
    if where is None:
        return None
    found = texts(scene, where, wanted)
    return Found(found[0]) if len(found) == 1 else None


def _is_glib_assertion(text: str) -> bool:
    """`Domain:ERROR:file.c:42:function: assertion failed: (…)`."""
    return re.search(r"ERROR:[^:]+:\d+:.", text) is not None


def _is_sentence(text: str) -> bool:
    """Whether it may be an error's text: words, and no form of printf's, no heading of Python's."""
    if text.startswith(("Fatal Python error", "Current thread", "Thread 0x", "Python runtime")):
        return False
    return len(text) >= 8 and " " in text.strip() and "%" not in text and "/" not in text[:1]


# --- GLib ---


def _glib_message(scene: Scene, names: Sequence[str]) -> Found | None:
    """The field MESSAGE of a structured log entry: `GLogField` is key, value, length (−1: a C
    string)."""
    functions = [number for number, name in enumerate(names) if name in _GLIB_LOG]
    where = stack_between(scene, 0, functions[-1] + 1) if functions else None
    if where is None:
        return None
    word = scene.arch.word
    keys: dict[int, bool] = {}
    for address, value in stack_words(scene, where):
        if value not in keys:
            keys[value] = (
                scene.places.find(value) is not None and scene.memory(value, 8) == b"MESSAGE\0"
            )
        if keys[value]:
            pointer = scene.word(address + word)
            text = c_string(scene, pointer) if pointer else ""
            if text:
                return Found(text)
    return None


# --- sanitizers ---


def _sanitizer(scene: Scene) -> Found | None:
    """The first line of its report: in a copy that its last function points to, or in the buffers
    on the stack through which it was printed."""
    where = range(scene.sp, scene.sp + _PRINTED)
    for value in dict.fromkeys(value for _, value in stack_words(scene, where)):
        place = scene.places.find(value)
        if place is None or not place.writable or value in where:
            continue
        found = _SANITIZER.search(scene.memory(value, _HEAD))
        if found:
            return Found(found[1].decode("utf-8", "replace").strip())
    found = _SANITIZER.search(scene.memory(scene.sp, _SEARCHED))
    return Found(found[1].decode("utf-8", "replace").strip()) if found else None
