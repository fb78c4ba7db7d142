"""The measurements, interleaved: each round visits every load and every collector once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.kernel import COMMAND, SOURCES

from usercrash.analysis.core.image import CoreImage
from usercrash.system.core_pattern import core_pattern_guard

from .subjects import Crash, Subject, UnavailableError, gdb_stacks

HEAVY_SECONDS = 20.0  # what a heavy collector may spend on one load before it is let off


@dataclass(frozen=True, slots=True)
class Load:
    """What crashes."""

    megabytes: int
    threads: int

    @property
    def name(self) -> str:
        size = f"{self.megabytes} MB" if self.megabytes < 1024 else f"{self.megabytes // 1024} GB"
        return f"{size}, {self.threads:,} threads"


LOADS = (Load(10, 9), Load(500, 9), Load(2048, 9), Load(10, 1000))


@dataclass(slots=True)
class Series:
    """One collector on one load: milliseconds of each run; `absent` says why there are none."""

    subject: str
    load: Load
    hold: list[float] = field(default_factory=list)
    report: list[float] = field(default_factory=list)
    absent: str = ""
    spent: float = 0.0


def build_harness(place: Path) -> Path:
    """Compile crash.c; UnavailableError with the compiler's words."""
    exe = place / "usercrash-bench"
    source = Path(__file__).with_name("crash.c")
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
    subjects: Sequence[Subject],
    loads: Sequence[Load],
    runs: int,
    say: Callable[[str], None],
) -> list[Series]:
    """All series, by load and then by subject. Round 0 warms everything up and is not counted."""
    table = {
        (load, subject.name): Series(subject.name, load) for load in loads for subject in subjects
    }
    for number in range(runs + 1):
        for load in loads[:1] if number == 0 else loads:
            for subject in subjects:
                series = table[load, subject.name]
                if series.absent or (subject.heavy and series.spent > HEAVY_SECONDS):
                    continue
                say(f"round {number} of {runs}: {load.name}: {subject.name}")
                try:
                    _one(exe, subject, series, counted=number > 0)
                except UnavailableError as error:
                    for other in loads:
                        table[other, subject.name].absent = str(error)
    return list(table.values())


def _one(exe: Path, subject: Subject, series: Series, *, counted: bool) -> None:
    begin = time.monotonic()
    with core_pattern_guard(subject.pattern, subject.pipe_limit):
        crash = crash_once(exe, series.load, subject.core_limit, exe.parent)
        report = subject.report_ms(crash, exe)
    series.spent += time.monotonic() - begin
    if counted:
        series.hold.append(crash.hold)
        if report is not None:
            series.report.append(report)


@dataclass(slots=True)
class LiveSeries:
    """One way to report a live process: ms that it stood still, ms until the report was there."""

    subject: str
    pause: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)


@contextmanager
def _live(exe: Path, load: Load) -> Iterator[int]:
    with subprocess.Popen(
        [exe, str(load.megabytes), str(load.threads), "live"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdin is not None
        yield int(process.stdout.readline())
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _debugger(pid: int, place: Path) -> float:
    """Run our debugger; gives the pause in ms that it noted in its minicore."""
    core = place / "live.core"
    core.unlink(missing_ok=True)
    launch = COMMAND.replace("usercrash.cli", "usercrash.debugger")
    done = subprocess.run(
        [sys.executable, "-c", launch, str(pid), "-o", str(place / "live.txt"),
         "--core", str(core)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"debugger: {done.stderr}")
    return int(CoreImage.open(core.read_bytes()).facts[b"@stop_ns"]) / 1e6


def measure_live(
    exe: Path, load: Load, runs: int, tools: Sequence[str], say: Callable[[str], None]
) -> list[LiveSeries]:
    """Our debugger, gdb and eu-stack on one process that stands still. The two others stop the
    process for all of their time but their start; that is counted as the pause."""
    series = {name: LiveSeries(name) for name in ("debugger", *tools)}
    with _live(exe, load) as pid:
        for number in range(runs + 1):
            for name, one in series.items():
                say(f"live, round {number} of {runs}: {name}")
                begin = time.monotonic_ns()
                pause: float | None = None
                if name == "debugger":
                    pause = _debugger(pid, exe.parent)
                elif name == "gdb":
                    gdb_stacks(["-p", str(pid)])
                else:
                    subprocess.run([name, "-p", str(pid)], capture_output=True, check=False)
                total = (time.monotonic_ns() - begin) / 1e6
                if number:
                    one.total.append(total)
                    one.pause.append(total if pause is None else pause)
    return list(series.values())
