"""Many crashes at once: how many a second are captured, how long each is held, and whether any is
lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from usercrash.system.core_pattern import core_pattern_guard

from .collectors import Collector, UnavailableError
from .crashes import SETTLE_SECONDS
from .results import Burst

MEGABYTES = 1
# Parents at once: enough to keep the processors busy; and far more than anything is there for.
FEW, MANY = 4, 100
MANY_CRASHES = 300
HEAVY_CRASHES = 100  # for collectors that need a second for a few of them
ALONE = 20
LARGE_LIMIT = 1000  # core_pipe_limit, for those that come with a smaller one
DONE_SECONDS = 240.0

Row = tuple[int, int, int]


def run_burst(exe: Path, count: int, parents: int, core_limit: int = -1) -> list[Row]:
    """Fault, return of wait (ns of CLOCK_MONOTONIC) and pid of each crash; RuntimeError if they
    did not all die of it."""
    done = subprocess.run(
        [exe, str(count), str(parents), str(MEGABYTES), str(core_limit)],
        capture_output=True, text=True, check=False, cwd=exe.parent, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"burst: status {done.returncode} {done.stderr}")
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows]


def measure_bursts(
    exe: Path, collectors: Sequence[Collector], count: int, say: Callable[[str], None]
) -> list[Burst]:
    """Two bursts for each collector; the floor shows what the crashes themselves take."""
    found = []
    for parents, most in ((FEW, count), (MANY, min(count, MANY_CRASHES))):
        for collector in collectors:
            if not collector.bursts:
                continue
            crashes = min(most, HEAVY_CRASHES) if collector.heavy else most
            for limit in _limits(collector):
                shipped = limit == collector.pipe_limit
                burst = Burst(collector.name, crashes, parents, limit, shipped)
                say(f"{crashes:,} crashes, {parents} at once: {burst.name}")
                found.append(burst)
                try:
                    _one(exe, collector, burst)
                except (UnavailableError, RuntimeError) as error:
                    burst.absent = str(error)
    return found


def _limits(collector: Collector) -> list[int]:
    """core_pipe_limit as it comes with the collector; a large one, too, if that is small."""
    own = collector.pipe_limit
    return [own, LARGE_LIMIT] if 0 < own < LARGE_LIMIT else [own]


def _one(exe: Path, collector: Collector, burst: Burst) -> None:
    core_limit = collector.core_limit
    with collector.around(), core_pattern_guard(collector.pattern, burst.pipe_limit):
        time.sleep(SETTLE_SECONDS)
        run_burst(exe, 2 * FEW, FEW, core_limit)  # warm
        alone = run_burst(exe, ALONE // 4 if collector.heavy else ALONE, 1, core_limit)
        burst.alone = _holds(alone)
        collector.record([pid for _, _, pid in alone], DONE_SECONDS)
        rows = run_burst(exe, burst.crashes, burst.parallel, core_limit)
        known = collector.record([pid for _, _, pid in rows], DONE_SECONDS)
    first = min(fault for fault, _, _ in rows)
    last = max(waited for _, waited, _ in rows)
    burst.seconds = (last - first) / 1e9
    burst.hold = _holds(rows)
    burst.known, burst.kept = known.known, known.kept
    burst.done = (max(known.done, last) - first) / 1e9


def _holds(rows: Sequence[Row]) -> list[float]:
    return [(waited - fault) / 1e6 for fault, waited, _ in rows]
