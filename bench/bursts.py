"""Many crashes at once: how many a second are captured, and whether any is lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from usercrash.system.core_pattern import core_pattern_guard

from .collectors import Collector, UnavailableError
from .results import Burst

PARENTS = 4
MEGABYTES = 1
HEAVY_CRASHES = 100  # for collectors that need a second for a few of them
DONE_SECONDS = 240.0


def run_burst(exe: Path, count: int, parents: int, where: Path) -> list[tuple[int, int, int]]:
    """Fault, return of wait (ns of CLOCK_MONOTONIC) and pid of each crash; RuntimeError if they
    did not all die of it."""
    done = subprocess.run(
        [exe, str(count), str(parents), str(MEGABYTES)],
        capture_output=True, text=True, check=False, cwd=where, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"burst: status {done.returncode} {done.stderr}")
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows]


def measure_bursts(
    exe: Path, collectors: Sequence[Collector], count: int, say: Callable[[str], None]
) -> list[Burst]:
    """One burst for each collector; the floor shows what the crashes themselves take."""
    found = []
    for collector in collectors:
        crashes = min(count, HEAVY_CRASHES) if collector.heavy else count
        say(f"{crashes:,} crashes at once: {collector.name}")
        burst = Burst(collector.name, crashes, PARENTS)
        found.append(burst)
        try:
            _one(exe, collector, burst)
        except (UnavailableError, RuntimeError) as error:
            burst.absent = str(error)
    return found


def _one(exe: Path, collector: Collector, burst: Burst) -> None:
    with collector.around(), core_pattern_guard(collector.pattern, collector.pipe_limit):
        if not collector.heavy:
            run_burst(exe, 2 * PARENTS, PARENTS, exe.parent)  # warm
        rows = run_burst(exe, burst.crashes, PARENTS, exe.parent)
        first = min(fault for fault, _, _ in rows)
        burst.seconds = (max(waited for _, waited, _ in rows) - first) / 1e9
        burst.hold = [(waited - fault) / 1e6 for fault, waited, _ in rows]
        before = time.monotonic_ns() - first
        known = collector.record([pid for _, _, pid in rows], DONE_SECONDS)
    burst.recorded, burst.kept = known.known, known.kept
    burst.done = before / 1e9 + known.seconds
    if collector.pipe_limit and collector.pipe_limit < PARENTS:
        burst.note = f"core_pipe_limit {collector.pipe_limit}"
