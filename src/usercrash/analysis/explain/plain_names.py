"""Functions of a stack by their plain names, and who called them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...report import Frame


def plain_name(frame: Frame) -> str:
    """The function's name without arguments, template arguments and version suffix."""
    name = frame.function or ""
    name = name.partition("@")[0]
    return name.partition("(")[0] if not name.startswith("(") else name


def plain_names(frames: Sequence[Frame]) -> list[str]:
    """The plain name of each."""
    return [plain_name(frame) for frame in frames]


def caller_after(
    frames: Sequence[Frame], names: Sequence[str], wanted: Collection[str]
) -> Frame | None:
    """The frame that called the outermost of these functions (adjacent ones as one)."""
    found = None
    for number, name in enumerate(names):
        if name in wanted:
            found = number
    if found is None or found + 1 >= len(frames):
        return None
    return frames[found + 1]
