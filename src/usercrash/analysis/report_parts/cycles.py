"""Which frames of a stack are shown: where it repeats, and how many there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..unwinding.unwind import RawFrame, Stack

MAX_PERIOD = 64  # frames in one cycle of a recursion
_MIN_TIMES = 3
_MIN_FOLDED = 6  # frames that a fold must cover to be worth a line
_CYCLE_FRAMES = 64  # of a cycle that goes on longer, so many are shown


@dataclass(frozen=True, slots=True)
class Cycle:
    """Raw frames [start, start + length × times) are `times` times the same `length`."""

    start: int
    length: int
    times: int


def find_cycles(pcs: Sequence[int]) -> list[Cycle]:
    """The repetitions in a stack, in order, without overlaps; linear in the stack's depth."""
    cycles = []
    last: dict[int, int] = {}
    at, count = 0, len(pcs)
    while at < count:
        pc = pcs[at]
        before = last.get(pc)
        last[pc] = at
        period = at - before if before is not None else 0
        if not 0 < period <= MAX_PERIOD:
            at += 1
            continue
        run = at
        while run < count and pcs[run] == pcs[run - period]:
            run += 1
        times = (run - at + period) // period
        if times >= _MIN_TIMES and times * period >= _MIN_FOLDED:
            cycles.append(Cycle(at - period, period, times))
            at = at - period + times * period
            last.clear()
        else:
            at += 1
    return cycles


def through_the_middle(cycles: list[Cycle], pcs: Sequence[int], stack: Stack) -> list[Cycle]:
    """The last cycle prolonged over the frames that the unwinder only counted, if what it
    kept behind them goes on in the same cycle."""
    if not cycles or not stack.tail:
        return cycles
    last = cycles[-1]
    if last.start + last.length * (last.times + 1) <= len(pcs):
        return cycles  # it ended before
    first = stack.total - len(stack.tail)
    same = 0
    for number, frame in enumerate(stack.tail):
        if frame.pc != pcs[last.start + (first + number - last.start) % last.length]:
            break
        same += 1
    if same < min(2 * last.length, len(stack.tail) // 2):
        return cycles
    times = (first + same - last.start) // last.length
    return [*cycles[:-1], Cycle(last.start, last.length, times)]


def kept_frames(
    stack: Stack, cycles: list[Cycle], first: int, last: int
) -> list[tuple[int, RawFrame]]:
    """The frames to show, with their numbers: the innermost and the outermost ones, without the
    further rounds of long cycles."""
    spans = [
        (max(start, low), min(end, high))
        for start, end in without_rounds(cycles, stack.total)
        # between these two the frames were only counted
        for low, high in ((0, len(stack.frames)), (stack.total - len(stack.tail), stack.total))
        if max(start, low) < min(end, high)
    ]
    behind = stack.total - len(stack.tail)
    return [
        (at, stack.frames[at] if at < len(stack.frames) else stack.tail[at - behind])
        for at in kept_numbers(spans, first, last)
    ]


def kept_numbers(spans: Sequence[tuple[int, int]], first: int, last: int) -> list[int]:
    """The `first` and the `last` numbers of these stretches [start, end)."""
    chosen: set[int] = set()
    for start, end in spans:
        chosen.update(range(start, min(end, start + first - len(chosen))))
    outer: set[int] = set()
    for start, end in reversed(spans):
        outer.update(range(max(start, end - last + len(outer)), end))
    return sorted(chosen | outer)


def without_rounds(cycles: list[Cycle], total: int) -> Iterator[tuple[int, int]]:
    """The stretches of a stack between the further rounds of its cycles; each cycle's last
    round stays, as what stands behind it may belong to it."""
    at = 0
    for cycle in cycles:
        rounds = max(1, min(cycle.times - 1, _CYCLE_FRAMES // cycle.length))
        yield at, cycle.start + cycle.length * rounds
        at = cycle.start + cycle.length * (cycle.times - 1)
    yield at, total
