"""What is aimed at, and whether a run has shown it."""

from __future__ import annotations

from typing import NamedTuple

from .results import (
    FLOOR,
    MINICOREDUMPER,
    PIPE,
    SOCKET,
    Load,
    Results,
    Stacks,
    middle,
    over_floor,
    per_second,
    spread,
)
from .words import NONE, number, size

_SMALL, _LARGE, _THREADS = Load(10, 9), Load(2048, 9), Load(10, 1000)


class Target(NamedTuple):
    """`reached` is None where the run did not measure it."""

    what: str
    goal: str
    measured: str
    reached: bool | None


def targets(results: Results) -> list[Target]:
    """All of them, in the order of the tables."""
    return [
        _most("hold over floor, socket", 3.0, over_floor(results.of(_SMALL), SOCKET)),
        _to_peer(results),
        _most("hold over floor, pipe", 25.0, over_floor(results.of(_SMALL), PIPE)),
        _growth(results),
        _threads(results),
        _report(results),
        *_burst(results),
        *_idle(results),
        _minicore(results),
        *(
            _most("debugger: pause", 3.0, middle(one.pause))
            for one in results.live
            if one.tool == "debugger"
        ),
        *(target for one in results.stacks for target in _stacks(one)),
        *(
            _most(f"explanation{words}, {one.what}", limit, middle(times))
            for one in results.explanation
            for words, limit, times in (
                ("", 30.0, one.plain),
                (" and variables", 150.0, one.with_variables),
            )
        ),
    ]


def _stacks(one: Stacks) -> list[Target]:
    first, again, naming = middle(one.first), middle(one.again), middle(one.naming)
    if one.what == "distinct functions":
        return [
            _least("distinct functions, first walk", 40_000, per_second(one.frames, first)),
            _most("name and line of a frame", 100.0, naming, "µs"),
        ]
    found = [_most(f"{one.frames:,} frames, {one.what}", 500.0, first)]
    if one.what == "recursion":
        found.append(_least("rows repeat", 400_000, per_second(one.frames, again)))
    return found


def _least(what: str, limit: float, value: float | None) -> Target:
    reached = None if value is None else value >= limit
    measured = NONE if value is None else f"{number(value)} a second"
    return Target(what, f"≥ {limit:,.0f} a second", measured, reached)


def _most(what: str, limit: float, value: float | None, unit: str = "ms") -> Target:
    reached = None if value is None else value <= limit
    measured = NONE if value is None else f"{number(value)} {unit}"
    return Target(what, f"≤ {limit:g} {unit}", measured, reached)


def _to_peer(results: Results) -> Target:
    rows = results.of(_SMALL)
    ours, peer = over_floor(rows, SOCKET), over_floor(rows, MINICOREDUMPER)
    what, goal = f"that to {MINICOREDUMPER}'s", "≤ 0.6 ×"
    if ours is None or peer is None or peer <= 0:
        return Target(what, goal, NONE, None)
    return Target(what, goal, f"{ours / peer:.2f} ×", ours / peer <= 0.6)


def _growth(results: Results) -> Target:
    """From 10 MB to 2 GB the floor grows, too; how far its quartiles are apart there is noise."""
    rows = results.of(_LARGE)
    small, large = over_floor(results.of(_SMALL), SOCKET), over_floor(rows, SOCKET)
    noise = spread(rows[FLOOR].hold) if FLOOR in rows else None
    what, goal = "its growth to 2 GB", "≤ floor's noise"
    if small is None or large is None or noise is None:
        return Target(what, goal, NONE, None)
    growth = large - small
    return Target(what, goal, f"{growth:+.1f} ms, noise {noise:.1f}", growth <= noise)


def _threads(results: Results) -> Target:
    rows = results.of(_THREADS)
    hold = middle(rows[SOCKET].hold) if SOCKET in rows else None
    over = over_floor(rows, SOCKET)
    found = _most("over floor, 1,000 threads", 60.0, over)
    if hold is None or over is None:
        return found
    return found._replace(measured=f"{found.measured} (hold {number(hold)})")


def _report(results: Results) -> Target:
    row = results.of(_SMALL).get(SOCKET)
    return _most("crash to report, socket", 60.0, middle(row.report) if row else None)


def _burst(results: Results) -> list[Target]:
    """Of the first burst: as many parents as keep the processors busy."""
    ours = [one for one in results.bursts if one.collector == SOCKET and one.hold]
    if not ours:
        return []
    one = ours[0]
    lost = one.crashes - one.kept
    return [
        Target(f"{one.crashes:,} crashes: captured", "≥ 250 a second",
               f"{number(one.rate)} a second", one.rate >= 250),
        Target("lost, not counted", "0, 0",
               f"{lost:,}, {one.crashes - one.known:,}", lost == 0 and one.known == one.crashes),
        # Whoever waits for an analysis is held for as long as one takes, or many of them.
        Target("none held for an analysis", "let go before",
               f"{number(max(one.hold))} ms at most", one.seconds < one.done
               and max(one.hold) < 1000 * (one.done - one.seconds)),
    ]  # fmt: skip


def _idle(results: Results) -> list[Target]:
    limits = {2: 60.0, 0: 25.0}
    return [
        _most(f"memory at rest, {one.workers} workers", limits[one.workers], one.at_rest, "MB")
        for one in results.idle
        if one.workers in limits
    ]


def _minicore(results: Results) -> Target:
    row = results.of(_SMALL).get(SOCKET)
    known = row is not None and row.size > 0
    value = row.size if row else 0
    return Target("minicore, 9 threads", "≤ 64 KiB", size(value), value <= 65536 if known else None)
