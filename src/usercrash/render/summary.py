"""What groups of equal crashes are made by: a few words and a key, of one report."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ..report import Frame, Report, Thread
from .frames import base_name, short_functions
from .layout import clean

SHOWN_FRAMES = 4
_MAX_NAME = 200
_RAISING = re.compile(r"(__|__GI_|__GI___)?(pthread_kill(_\w+)?|raise|gsignal|kill)")


@dataclass(frozen=True, slots=True)
class Summary:
    """`key` is the same for crashes by the same signal in the same functions of the crashing
    thread, a recursion counted once; `frames` are the innermost functions, shortened."""

    key: str
    signal: str
    program: str
    frames: tuple[str, ...]


def summary(report: Report) -> Summary:
    """The summary of a report."""
    signal = report.signal.name if report.signal is not None else ""
    program = base_name(report.process.exe) or report.process.comm
    frames = _distinct(report.threads[0]) if report.threads else []
    words = [signal, *(_identity(frame) for frame in frames)]
    if not any(frame.function for frame in frames):
        words.append(program)  # addresses alone say little
    digest = hashlib.sha256("\n".join(words).encode("utf-8", "backslashreplace"))
    shown = _shown(frames)
    return Summary(
        digest.hexdigest()[:16], clean(signal), clean(program)[:_MAX_NAME],
        tuple(map(_short, shown)),
    )  # fmt: skip


def encode_summary(found: Summary) -> bytes:
    """As bytes: the fields with a NUL between."""
    fields = (found.key, found.signal, found.program, *found.frames)
    return b"\0".join(field.encode("utf-8", "backslashreplace") for field in fields)


def decode_summary(data: bytes) -> Summary | None:
    """The same back; None where it is none."""
    fields = data.decode("utf-8", "backslashreplace").split("\0")
    if len(fields) < 3 or len(fields[0]) != 16:
        return None
    return Summary(fields[0], fields[1], fields[2], tuple(fields[3 : 3 + SHOWN_FRAMES]))


def _distinct(thread: Thread) -> list[Frame]:
    """The frames without the repetitions of a recursion."""
    repeated = [
        range(fold.start + fold.length, fold.start + fold.length * fold.times)
        for fold in thread.folds
    ]
    frames = [
        frame for frame in thread.frames if not any(frame.index in indexes for indexes in repeated)
    ]
    # What is too short to be folded: a function that calls itself.
    return [
        frame
        for before, frame in zip([None, *frames], frames, strict=False)
        if before is None or _identity(before) != _identity(frame) or not frame.function
    ]


def _shown(frames: list[Frame]) -> list[Frame]:
    """The innermost that say something: not what raises a signal, nor what called main."""
    frames = [frame for frame in frames if not frame.signal_frame]
    while len(frames) > 1 and _RAISING.fullmatch(frames[0].function or ""):
        del frames[0]
    names = [frame.function for frame in frames]
    end = names.index("main") + 1 if "main" in names else len(frames)
    return frames[: min(end, SHOWN_FRAMES)]


def _identity(frame: Frame) -> str:
    if frame.function:
        return frame.function
    if frame.module and frame.module_offset:
        return f"{base_name(frame.module)}+{frame.module_offset}"
    return "?"  # an address is another one in each process


def _short(frame: Frame) -> str:
    return short_functions(clean(_identity(frame)))[-1].removeprefix("__GI_")[:_MAX_NAME]
