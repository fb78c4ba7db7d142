"""Hold and report, interleaved: each round visits every load and every collector."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from usercrash.system.core_pattern import core_pattern_guard

from .collectors import Collector, Crash, UnavailableError
from .results import Load, Series

HEAVY_SECONDS = 20.0  # what a heavy collector may spend on one load before it is let off
SMALLEST = Load(10, 9)  # what most of the targets are about: more often in each round
SMALLEST_TIMES = 3
LOADS = (
    SMALLEST, Load(500, 9), Load(2048, 9), Load(10, 1), Load(10, 100), Load(10, 1000),
)  # fmt: skip
SETTLE_SECONDS = 0.05  # after what makes a collector ready


def build_harness(place: Path, name: str = "crash") -> Path:
    """Compile NAME.c; UnavailableError with the compiler's words."""
    exe = place / f"usercrash-{name}"
    source = Path(__file__).with_name(f"{name}.c")
    command = ["gcc", "-O2", "-g", "-pthread", "-o", str(exe), str(source)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UnavailableError("gcc is not installed: apt-get install gcc libc6-dev") from error
    if done.returncode:
        raise UnavailableError(done.stderr)
    return exe


def crash_once(exe: Path, load: Load, core_limit: int, where: Path) -> Crash:
    """One crash of such a process; RuntimeError if it did not come to that."""
    done = subprocess.run(
        [exe, str(load.megabytes), str(load.threads), str(core_limit)],
        capture_output=True, text=True, check=False, cwd=where, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"harness: status {done.returncode} {done.stderr}")
    fault, realtime, waited, pid = map(int, done.stdout.split())
    return Crash(pid, fault, realtime, waited)


def measure(
    exe: Path,
    collectors: Sequence[Collector],
    loads: Sequence[Load],
    runs: int,
    say: Callable[[str], None],
) -> list[Series]:
    """All series, by load and then by collector. Round 0 warms everything up and is not counted."""
    table = {
        (load, collector.name): Series(collector.name, load)
        for load in loads
        for collector in collectors
        if load == loads[0] or not collector.small
    }
    for number in range(runs + 1):
        for load in loads[:1] if number == 0 else loads:
            for collector in collectors:
                series = table.get((load, collector.name))
                if series is None or series.absent:
                    continue
                if collector.heavy and series.spent > HEAVY_SECONDS:
                    continue
                say(f"round {number} of {runs}: {load.name}: {collector.name}")
                often = load == SMALLEST and number > 0 and not collector.heavy
                try:
                    for _ in range(SMALLEST_TIMES if often else 1):
                        _one(exe, collector, series, counted=number > 0)
                except UnavailableError as error:
                    for other in table.values():
                        if other.collector == collector.name:
                            other.absent = str(error)
                except RuntimeError as error:
                    series.absent = str(error)
    return list(table.values())


def _one(exe: Path, collector: Collector, series: Series, *, counted: bool) -> None:
    begin = time.monotonic()
    with collector.around(), core_pattern_guard(collector.pattern, collector.pipe_limit):
        time.sleep(SETTLE_SECONDS)
        crash = crash_once(exe, series.load, collector.core_limit, exe.parent)
        report = collector.report_ms(crash, exe)
    series.spent += time.monotonic() - begin
    if counted:
        series.hold.append(crash.hold)
        if report is not None:
            series.report.append(report)
        series.size = collector.size
