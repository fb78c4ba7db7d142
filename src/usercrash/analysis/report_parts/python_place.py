"""Where Python was when the process died: said beside the cause, and instead of a nameless place in
the interpreter."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from ... import report
from ..explain.scene import frame_words

_LIVE = "none"  # cause.kind of a process that did not crash
_NO_NAMES = ("__init__.py", "__main__.py")  # say nothing without their directory
_MAX_FUNCTION = 200


def with_python_place(
    found: report.Cause, thread: report.Thread, interpreters: Sequence[report.Interpreter]
) -> report.Cause:
    """The cause, with the Python function that the thread was in: instead of an address in the
    interpreter itself that has no name, or in what calls C functions for it, else as a detail."""
    frame = _innermost(thread.interpreted)
    if frame is None or found.kind == _LIVE:
        return found
    name = frame.function if len(frame.function) <= _MAX_FUNCTION else "a function"
    line = f":{frame.line}" if frame.line else ""
    short = f"{name} at {_short(frame.file)}{line}"
    own = {one.module for one in interpreters if one.language == "python"}
    nameless = [
        frame_words(native)
        for native in thread.frames
        if frame.native is not None and native.index < frame.native
        and (_is_libffi(native) or (native.function is None and native.module in own))
    ]  # fmt: skip
    if nameless:
        places = re.compile("|".join(f"{re.escape(one)}(?![0-9a-f])" for one in nameless))
        summary, count = places.subn(lambda _: short, found.summary, count=1)
        if count:
            return msgspec.structs.replace(found, summary=summary)
    words = f"Python was in {name} at {frame.file}{line}."
    return msgspec.structs.replace(found, details=[words, *found.details])


def _is_libffi(frame: report.Frame) -> bool:
    """Whether it is what ctypes and cffi call functions through: who called is not its doing."""
    return (frame.module or "").rpartition("/")[2].startswith("libffi.so")


def _innermost(stacks: Sequence[report.InterpretedStack]) -> report.InterpretedFrame | None:
    """The frame that was entered last; None where that is another language's, or cannot be told
    because there are several stacks, and one could not be placed among the native frames."""
    begun = [stack for stack in stacks if stack.frames]
    if len(begun) > 1:
        if any(stack.frames[0].native is None for stack in begun):
            return None
        begun.sort(key=lambda stack: stack.frames[0].native or 0)
    if not begun or begun[0].language != "python":
        return None
    return begun[0].frames[0]


def _short(file: str) -> str:
    """A file's name without its directories; of a package's own two files with one."""
    parts = file.split("/")
    return "/".join(parts[-2 if parts[-1] in _NO_NAMES else -1 :])
