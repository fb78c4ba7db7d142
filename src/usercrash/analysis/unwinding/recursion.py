"""Recursion whose calls come in changing order: a walk through a tree, a parser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .frames import RawFrame, Stack

_DEEP = 1_000  # frames of a stack that is looked at
_PLACES = 64  # return addresses whose functions are looked up, the most frequent ones
_SHARE = 100  # a function is part of the recursion if one frame in so many is its


@dataclass(frozen=True, slots=True)
class Recursion:
    """`functions` have `calls` frames on the stack, the most frequent one first; not `whole`: at
    least so many, as not every frame was kept."""

    functions: tuple[str, ...]
    calls: int
    whole: bool


def recursion_of(stack: Stack, name: Callable[[RawFrame], str | None]) -> Recursion | None:
    """The functions that have most frames of a deep stack; None if there are none such."""
    if stack.total < _DEEP:
        return None
    frames = [*stack.frames, *stack.tail]
    one_of = {frame.pc: frame for frame in frames}
    counts: Counter[str] = Counter()
    for pc, count in Counter(frame.pc for frame in frames).most_common(_PLACES):
        function = name(one_of[pc])
        if function is not None:
            counts[function] += count
    often = [(one, count) for one, count in counts.most_common() if count * _SHARE >= len(frames)]
    calls = sum(count for _, count in often)
    if 2 * calls < len(frames):
        return None
    functions = tuple(function for function, _ in often)
    return Recursion(functions, calls, whole=stack.total == len(frames))
