"""How fast stacks are walked: over distinct functions, recursion, many threads.

`python -m bench.unwinding` builds three programs that crash, takes their cores with gdb, and
prints frames a second, the best of three runs, beside gdb's own backtrace where asked (`--gdb`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.analysed import Analysed, analyse
from tests.support.gcore import gcore_at_fault

from usercrash.analysis.unwinding.unwind import UnwindLimits

FUNCTIONS = 40_000
DEPTH = 100_000
THREADS = 1_000
LIMITS = UnwindLimits(frames=200_000, seconds=30)

_RECURSION = """
__attribute__((noinline)) int down(int n) { volatile int k = n;
    if (!n) __builtin_trap(); return down(n - 1) + k; }
int main(int c, char **v) { (void)v; return down(%d + c); }
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
    return gcore_at_fault([bytes(program)], place / f"{name}.core")


def _walk(seen: Analysed) -> tuple[int, float]:
    """(frames of all threads, seconds)."""
    begin = time.perf_counter()
    frames = sum(seen.stack(number, LIMITS).total for number in range(len(seen.image.threads)))
    return frames, time.perf_counter() - begin


def _gdb(core: Path, program: Path) -> float:
    command = ["gdb", "-batch", "-nx", "-ex", "thread apply all backtrace"]
    command += [str(program), str(core)]
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - begin


def measure(place: Path, name: str, source: str, with_gdb: bool = False) -> dict[str, float]:
    """Frames, seconds of the first walk and of one whose rows are known (the best of three), and
    gdb's seconds if wanted."""
    core = _core(place, name, source)
    cold, warm, frames = float("inf"), float("inf"), 0
    for _ in range(3):
        seen = analyse(core)
        frames, seconds = _walk(seen)
        cold = min(cold, seconds)
        warm = min(warm, _walk(seen)[1])
    row = {"frames": float(frames), "cold": cold, "warm": warm}
    if with_gdb:
        row["gdb"] = _gdb(core, place / name)
    return row


def programs() -> dict[str, str]:
    """What is measured: the name of each and its source."""
    return {
        "distinct functions": _distinct(FUNCTIONS),
        "recursion": _RECURSION % DEPTH,
        "threads": _MANY % (THREADS, THREADS),
    }


def main() -> None:
    """Print one line for each program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gdb", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        for name, source in programs().items():
            if options.only not in name:
                continue
            row = measure(Path(place), name.replace(" ", "_"), source, options.gdb)
            frames = row["frames"]
            line = f"{name:20} {frames:8.0f} frames  cold {row['cold'] * 1000:7.1f} ms"
            line += f" ({frames / row['cold']:9.0f}/s)  warm {row['warm'] * 1000:7.1f} ms"
            line += f" ({frames / row['warm']:9.0f}/s)"
            if "gdb" in row:
                line += f"  gdb {row['gdb'] * 1000:7.0f} ms"
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
