"""Stacks that ran over, of 8 MB or on memory of their own: counted in full, the cycle folded, and
what is above and below it shown."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.assemble import assemble
from usercrash.analysis.limits import AssembleLimits
from usercrash.analysis.unwinding.frames import UnwindLimits
from usercrash.render.screen import render_screen
from usercrash.report import Fold, Frame, Report

SOURCE = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#define KEEP __attribute__((noinline))
static volatile int calls; /* of the recursion */
static int last(int); /* what its functions call at the end */
KEEP int pong(int n);
KEEP int ping(int n) { calls++; int x = pong(n + 1); __asm__ volatile(""); return x + 1; }
KEEP int pong(int n) {
    volatile char room[100];
    calls++; room[0] = n;
    int x = ping(n + 1); __asm__ volatile(""); return x + room[0];
}
#define STEP(name, next) KEEP int name(int n) { \
    calls++; int x = next(n); __asm__ volatile(""); return x + 1; }
KEEP int a(int n);
STEP(e, a)
KEEP int d(int n) { calls++; int x = last(n) + e(n); __asm__ volatile(""); return x; }
STEP(c, d)
STEP(b, c)
STEP(a, b)
KEEP static int last(int n) { char text[40]; return snprintf(text, sizeof text, "%d", n); }
KEEP int self(int n) { /* from two places */
    calls++;
    int x = n & 1 ? self(n - 1) : self(n + 1) + 1; __asm__ volatile(""); return x + 1;
}
KEEP int left(unsigned n);
KEEP int right(unsigned n);
KEEP int walk(unsigned n) { /* as chance has it */
    calls++;
    n = n * 1103515245 + 12345;
    int x = n >> 16 & 1 ? left(n) : right(n) + 1; __asm__ volatile(""); return x;
}
KEEP int left(unsigned n) { calls++; int x = walk(n); __asm__ volatile(""); return x + 1; }
KEEP int right(unsigned n) { calls++; int x = walk(n); __asm__ volatile(""); return x + 2; }
KEEP static int large(int n) { /* one frame with more than the stack */
    volatile char room[20 << 20]; room[n] = 1; __asm__ volatile(""); return room[n];
}
static void *large_work(void *arg) { large(0); __asm__ volatile(""); return arg; }
static void *work(void *arg) { ping(0); return arg; }
static void handler(int n) { ping(n); __asm__ volatile(""); }
KEEP static int once(void) { int x = raise(SIGUSR1); __asm__ volatile(""); return x; }
KEEP int deep(int n) { int x = n ? deep(n - 1) : once(); __asm__ volatile(""); return x + 1; }
static void *guarded(size_t size) {
    char *place = mmap(0, size + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(place + 4096, size, PROT_READ | PROT_WRITE);
    return place + 4096;
}
int main(int count, char **words) {
    enum { ALTERNATE = 64 << 10 };
    static char room[ALTERNATE] __attribute__((aligned(4096)));
    const char *how = words[count - 1];
    stack_t other = {.ss_size = ALTERNATE, .ss_sp = room};
    struct sigaction action = {.sa_handler = handler};
    pthread_t thread;
    if (!strcmp(how, "thread")) {
        pthread_create(&thread, 0, work, 0);
        pthread_join(thread, 0);
    }
    if (!strcmp(how, "large-thread")) {
        pthread_create(&thread, 0, large_work, 0);
        pthread_join(thread, 0);
    }
    if (!strcmp(how, "large")) return large(0);
    if (!strcmp(how, "five")) return a(0);
    if (!strcmp(how, "self")) return self(0);
    if (!strcmp(how, "walk")) return walk(1);
    if (!strcmp(how, "guarded")) other.ss_sp = guarded(ALTERNATE);
    if (strcmp(how, "handler")) {
        action.sa_flags = SA_ONSTACK;
        sigaltstack(&other, 0);
    }
    sigaction(SIGUSR1, &action, 0);
    return deep(50);
}
"""

HANDLER: list[str | None] = [
    "handler", None, "__pthread_kill_implementation", "__GI_raise", "once", "deep",
]  # fmt: skip
# How it is called: the functions of the cycle, what called the first of them, what is said.
WAYS: dict[str, tuple[set[str], list[str | None], str]] = {
    "thread": ({"ping", "pong"}, ["work", "start_thread"], "this thread's stack of 8 MiB"),
    "handler": ({"ping", "pong"}, HANDLER, "the main thread's stack of 8 MiB"),
    "guarded": ({"ping", "pong"}, HANDLER, "a stack of at most "),
    "static": ({"ping", "pong"}, HANDLER, "a stack without a guard below it was left"),
    "five": (set("abcde"), ["main"], "the main thread's stack of 8 MiB"),
    "self": ({"self"}, ["main"], "the main thread's stack of 8 MiB"),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(tmp_path_factory.mktemp("overflow"), "program", SOURCE)


def crash(program: Path, how: str, place: Path) -> tuple[Report, int]:
    """The report, and how many calls the program counted."""
    core = gcore_at_fault([bytes(program), how.encode()], place / "core")
    ours = analyse(core)
    patient = UnwindLimits(frames=200_000, seconds=60)  # (the machine may be busy)
    limits = AssembleLimits(crashing=patient, seconds=60)
    report = assemble(ours.image, ours.modules, ours.symbolizer, "0" * 32, limits)
    main = next(module for module in ours.modules if module.main)
    symbols = subprocess.run([need("nm", "binutils"), program], capture_output=True, check=True)
    counter = next(
        int(line.split()[0], 16) for line in symbols.stdout.split(b"\n") if line.endswith(b" calls")
    )
    return report, int.from_bytes(ours.memory.read(counter + main.bias, 4), "little")


def the_cycle(frames: list[Frame], folds: list[Fold], functions: set[str]) -> Fold:
    """The one fold of the recursion."""
    names = {frame.index: frame.function for frame in frames}
    found = [fold for fold in folds if names.get(fold.start) in functions]
    assert len(found) == 1
    inside = range(found[0].start, found[0].start + found[0].length)
    assert {names[index] for index in inside} == functions
    return found[0]


@pytest.mark.parametrize("how", list(WAYS))
def test_overflow(how: str, program: Path, tmp_path: Path) -> None:
    functions, callers, words = WAYS[how]
    report, calls = crash(program, how, tmp_path)
    thread = report.threads[0]
    assert thread.stack_end == "end of stack" and thread.folds
    fold = the_cycle(thread.frames, thread.folds, functions)
    end = fold.start + fold.length * fold.times
    shown = {frame.index: frame for frame in thread.frames}
    before = [index for index, frame in shown.items()
              if index < fold.start and frame.function in functions]  # fmt: skip
    after = next(index for index in range(end, end + fold.length)
                 if shown[index].function not in functions)  # fmt: skip
    counted = len(before) + fold.length * fold.times + after - end
    # The fault may be in the prologue of a call that has not counted itself yet.
    assert counted - calls in (0, 1)
    following = [one for one in thread.frames if one.index >= after and one.trust != "tail-call"]
    names = [None if one.signal_frame else one.function for one in following]
    assert names[: len(callers)] == callers
    assert len(thread.frames) < 300
    cause = report.cause
    assert cause is not None and (cause.kind, cause.reason) == ("stack-overflow", "recursion")
    assert words in cause.summary
    if len(functions) == 1:
        assert f"{fold.length * fold.times:,} calls of self" in cause.summary
    else:
        assert f"{fold.times:,} rounds of " in cause.summary
        assert all(name in cause.summary.partition(" rounds of ")[2] for name in functions)
    assert f"{fold.times - 1:,} more times (#{fold.start + fold.length} to #{end - 1})" in (
        render_screen(report, part="stacks")
    )


def test_calls_in_changing_order(program: Path, tmp_path: Path) -> None:
    """Thousands of small folds say little: the functions are counted, and no fold is told of which
    no frame is shown."""
    report, calls = crash(program, "walk", tmp_path)
    thread = report.threads[0]
    assert thread.stack_end == "end of stack" and len(thread.frames) < 300
    shown = {frame.index for frame in thread.frames}
    assert thread.folds
    assert all(shown & set(range(one.start, one.start + one.length)) for one in thread.folds)
    assert report.cause is not None and report.cause.reason == "recursion"
    told = re.search(
        r", by (at least )?([\d,]+) calls of (\w+), (\w+), (\w+)$", report.cause.summary
    )
    assert told is not None and set(told.groups()[2:]) == {"walk", "left", "right"}
    counted = int(told[2].replace(",", ""))
    if told[1]:  # (so small are the frames that not all of them were kept)
        assert 200_000 <= counted < calls
    else:
        assert counted - calls in (0, 1)


LARGE = {"large": "the main thread's stack", "large-thread": "this thread's stack"}


@pytest.mark.parametrize(("how", "whose"), LARGE.items())
def test_one_frame_that_is_too_large(how: str, whose: str, program: Path, tmp_path: Path) -> None:
    """How large the main thread's stack happens to be says nothing: it would have grown."""
    report, _ = crash(program, how, tmp_path)
    cause = report.cause
    assert cause is not None and (cause.kind, cause.reason) == ("stack-overflow", "no-room")
    words = f"stack overflow: {whose} has no room for the 20 MiB that large takes at once"
    assert cause.summary == words
    assert report.threads[0].stack_end == "end of stack"
