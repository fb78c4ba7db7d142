"""How fast stacks are walked and named: over distinct functions, a recursion, many threads.

Three programs crash; the kernel writes their cores. Measured are our walk alone, and all programs
from their start to their end, names and lines included.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tests.support.analysed import Analysed, analyse
from tests.support.corpus_run import die
from tests.support.kernel import COMMAND, SOURCES, file_cores

from usercrash.analysis.symbols import symcache
from usercrash.analysis.unwinding.unwind import UnwindLimits

from .results import Stacks

RUNS = 5
PATIENCE = 30.0  # seconds for a whole program
NAMED = 5_000  # frames whose names are looked up
FUNCTIONS = 40_000
DEPTH = 100_000
THREADS = 1_000
LIMITS = UnwindLimits(frames=200_000, seconds=30)

_DISTINCT_NAME = "distinct functions"
_RECURSION = """
__attribute__((noinline)) int down(int n) { volatile int k = n;
    if (!n) __builtin_trap(); return down(n - 1) + k; }
int main(int c, char **v) { (void)v; return down(%d + c); }
"""
_DRGN = """
import os, sys
os.environ["DRGN_DISABLE_PLUGINS"] = "*"
import drgn
program = drgn.Program()
program.set_core_dump(sys.argv[1])
program.load_debug_info(default=True)
for thread in program.threads():
    print(thread.stack_trace())
"""
_MANY = """
#include <pthread.h>
#include <unistd.h>
static pthread_barrier_t all;
static void *work(void *p) { pthread_barrier_wait(&all); pause(); return p; }
int main(void) { pthread_t t; pthread_barrier_init(&all, 0, %d + 1);
    for (int i = 0; i < %d; i++) pthread_create(&t, 0, work, 0);
    pthread_barrier_wait(&all); usleep(200000); __builtin_trap(); }
"""


def _distinct(count: int) -> str:
    """A program whose `count` functions call each other one after the other."""
    lines = [f"int f{count}(int, int);"]
    for number in range(count - 1, -1, -1):
        lines.append(
            f"__attribute__((noinline)) int f{number}(int a, int b) {{"
            f" volatile int k[{number % 7 + 1}]; k[0] = a;"
            f" return f{number + 1}(a + 1, b ^ k[0]) + k[0]; }}"
        )
    end = f"int f{count}(int a, int b) {{ __builtin_trap(); return a + b; }}"
    return "\n".join((*lines, end, "int main(int c, char **v) { (void)v; return f0(c, 1); }"))


def _core(place: Path, name: str, source: str) -> Path:
    file = place / f"{name}.c"
    file.write_text(source)
    program = place / name
    subprocess.run(["gcc", "-O1", "-pthread", "-w", "-o", program, file], check=True)
    with file_cores(place):
        return die(program, place)


def _walk(seen: Analysed) -> tuple[int, float]:
    """(frames of all threads, seconds)."""
    begin = time.perf_counter()
    frames = sum(seen.stack(number, LIMITS).total for number in range(len(seen.image.threads)))
    return frames, time.perf_counter() - begin


def measure_stacks(say: Callable[[str], None], drgn: Path | None = None) -> list[Stacks]:
    """All three; each walk RUNS times. `drgn` is where that library lies, if not among ours."""
    found = []
    with tempfile.TemporaryDirectory(prefix="ucb-") as name:
        place = Path(name)
        for what, source in programs().items():
            say(f"stacks: {what}")
            core = _core(place, what.replace(" ", "_"), source)
            one = Stacks(what)
            for _ in range(RUNS):
                seen = analyse(core)
                one.frames, seconds = _walk(seen)
                one.first.append(seconds * 1e3)
                one.again.append(_walk(seen)[1] * 1e3)
            program = place / what.replace(" ", "_")
            for tool, command in _commands(core, program, drgn).items():
                say(f"stacks: {what}, {tool}")
                one.whole[tool] = _whole(command, drgn if tool == "drgn" else None)
            if what == _DISTINCT_NAME:
                one.naming = _naming(core, place / "cache")
            found.append(one)
    return found


def _naming(core: Path, cache: Path) -> list[float]:
    """Microseconds for the names and lines of one frame from a SymCache, run by run."""
    cache.mkdir(exist_ok=True)
    times = []
    for number in range(RUNS + 1):
        seen = analyse(core, cache=cache)
        if number == 0:
            for module in seen.modules:
                if module.fd >= 0:
                    status = os.fstat(module.fd)
                    symcache.publish(str(cache), status, *symcache.make(module.fd))
            continue
        frames = seen.stack(0, LIMITS).frames[:NAMED]
        begin = time.perf_counter()
        for frame in frames:
            seen.locations(frame)
        times.append((time.perf_counter() - begin) / max(1, len(frames)) * 1e6)
    return times


def _commands(core: Path, program: Path, drgn: Path | None) -> dict[str, list[str]]:
    """Each tool that is here, with its command for all stacks of a core."""
    ours = [sys.executable, "-c", COMMAND, "analyze", str(core), "--exe", str(program)]
    found = {"usercrash": ours}
    if shutil.which("gdb"):
        quiet = ["-batch", "-nx", "-ex", "set debuginfod enabled off"]
        bt = ["-ex", "thread apply all backtrace"]
        found["gdb"] = ["gdb", *quiet, *bt, str(program), str(core)]
    if shutil.which("eu-stack"):
        found["eu-stack"] = [
            "eu-stack",
            "-n",
            "0",
            "-s",
            "-i",
            f"--core={core}",
            "-e",
            str(program),
        ]
    if drgn is not None or find_spec("drgn"):
        found["drgn"] = [sys.executable, "-c", _DRGN, str(core)]
    return found


def _whole(command: list[str], library: Path | None) -> list[float]:
    """Milliseconds of some runs; of one that is not done in PATIENCE, as long as that."""
    times: list[float] = []
    path = f"{SOURCES}:{library}" if library else str(SOURCES)
    while len(times) < 3 and sum(times) < 10_000:
        begin = time.perf_counter()
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, check=False, timeout=PATIENCE,
                env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def programs() -> dict[str, str]:
    """What is measured: the name of each and its source."""
    return {
        _DISTINCT_NAME: _distinct(FUNCTIONS),
        "recursion": _RECURSION % DEPTH,
        "threads": _MANY % (THREADS, THREADS),
    }
