"""A live process: our debugger, gdb and eu-stack on one that stands still."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.kernel import COMMAND, SOURCES

from usercrash.analysis.core.image import CoreImage

from .peers import live_stacks
from .results import Live, Load


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
) -> list[Live]:
    """Our debugger, gdb and eu-stack on one process that stands still. The two others stop the
    process for all of their time but their start; that is counted as the pause."""
    series = {name: Live(name) for name in ("debugger", *tools)}
    with _live(exe, load) as pid:
        for number in range(runs + 1):
            for name, one in series.items():
                say(f"live, round {number} of {runs}: {name}")
                begin = time.monotonic_ns()
                pause: float | None = None
                if name == "debugger":
                    pause = _debugger(pid, exe.parent)
                elif "main" not in live_stacks(name, pid):
                    raise RuntimeError(f"{name} did not name the functions of a live process")
                total = (time.monotonic_ns() - begin) / 1e6
                if number:
                    one.total.append(total)
                    one.pause.append(total if pause is None else pause)
    return list(series.values())
