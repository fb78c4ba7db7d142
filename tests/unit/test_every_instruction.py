"""Real processes, single-stepped: the stack is right at every instruction.

The truth is what each `call` pushed (tests/support/stepper.py): in prologues and epilogues, PLT
stubs, the dynamic linker's lazy binding, signal handlers and their trampolines.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from tests.support.spawn import compile_c
from tests.support.stepper import Moment, Stepper

from usercrash.analysis.unwinding.unwind import Stack, unwind
from usercrash.elf.arch.x86_64 import ARCH

BARE = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-g0")
LIMIT = 40_000

SOURCE = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <alloca.h>
#define K __attribute__((noinline))
K int leaf(int x) { return x * 3 + 1; }
K int many(int a, int b, int c, int d, int e, int f, int g, int h) {
    volatile int room[20];
    room[a & 15] = h + g;
    return leaf(room[a & 15] + b + c + d + e + f) + 1;
}
K int dynamic(int n) {
    char *room = alloca(n * 17);
    memset(room, n, n * 17);
    return leaf(room[n]) + 1;
}
static int compare(const void *a, const void *b) { return *(int *)a - leaf(*(int *)b); }
K int sorted(void) {
    int v[9] = {5, 3, 9, 1, 7, 2, 8, 4, 6};
    qsort(v, 9, sizeof *v, compare);
    return v[3];
}
K int printed(double d) {
    char text[64];
    return snprintf(text, sizeof text, "%s %d %.3f", __func__, (int)d, d) + leaf(text[1]);
}
K int cold(int x) {
    if (__builtin_expect(x == 7, 0)) { printf("cold %d\n", x); abort(); }
    return leaf(x) + 2;
}
static void handler(int n) { leaf(n); }
K int signalled(void) { return raise(SIGUSR1) + leaf(1); }
K int tail(int x) { return many(x, x, x, x, x, x, x, x); }
K int allocates(void) {
    char *p = malloc(3000), *q = malloc(20);
    free(p); free(q);
    return leaf(q != p);
}
K long aligned(int x) {
    __attribute__((aligned(64))) long v[8];
    memset(v, x, sizeof v);
    return leaf(v[x]) + v[1];
}
K int several(int x) {
    if (x > 3) return x;
    if (x == 2) { int y = leaf(x); return y + leaf(y); }
    return dynamic(x) + several(x + 1);
}
int main(void) {
    signal(SIGUSR1, handler);
    __asm__ volatile("int3");
    int x = many(1, 2, 3, 4, 5, 6, 7, 8) + dynamic(3) + sorted() + printed(3.25) + cold(2);
    x += signalled() + tail(2) + allocates() + (int)aligned(1) + several(0);
    __asm__ volatile("int3" :: "r"(x));
    return 0;
}
"""


def stacks(program: Path, every: int) -> Iterator[tuple[Moment, Stack, list[int]]]:
    """Moments, our stacks, the true pcs: at each instruction of the program itself (unless it is
    static: then there is nothing else), at one of `every` elsewhere."""
    stepper = Stepper(program)
    try:
        below: list[int] | None = None
        own = next(module for module in stepper.modules if module.main)
        for moment in stepper.moments(LIMIT):
            inside = len(stepper.modules) > 2 and own.start <= moment.registers["rip"] < own.end
            if not inside and moment.step % every:
                continue
            stack = unwind(stepper.memory, stepper.modules, ARCH, moment.registers)
            if below is None:  # what called the function that we begin in
                below = [frame.pc for frame in stack.frames[1:]]
            yield moment, stack, moment.expected + below
    finally:
        stepper.close()


@pytest.mark.parametrize("flags, every", [
    (("-O2",), 1),
    (("-O2", "-Wl,--no-ld-generated-unwind-info", "-Wl,-z,lazy"), 8),
    (("-O2", "-static"), 2),
    (("-O0", *BARE), 8),
    (("-O2", "-fomit-frame-pointer", *BARE), 8),
    (("-Os", "-fno-omit-frame-pointer", *BARE), 8),
], ids=["cfi", "plt-bare", "static", "O0-bare", "O2-bare", "Os-bare"])  # fmt: skip
def test_every_instruction(tmp_path: Path, flags: tuple[str, ...], every: int) -> None:
    program = compile_c(tmp_path, "program", SOURCE, *flags)
    count = 0
    for moment, stack, wanted in stacks(program, every):
        pcs = [frame.pc for frame in stack.frames]
        assert list(map(hex, pcs)) == list(map(hex, wanted)), moment
        assert stack.complete
        count += 1
    assert count > 1000


def test_frames_are_right_where_nothing_has_call_frame_information(tmp_path: Path) -> None:
    """A static program of musl. What is not marked as scanned for is what the processor did."""
    if shutil.which("musl-gcc") is None:
        pytest.skip("musl-gcc is not installed: apt-get install musl-tools")
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(SOURCE)
    command = ["musl-gcc", "-static", "-O2", *BARE, "-o", str(program), str(source)]
    subprocess.run(command, check=True)
    whole = count = 0
    wrong = []
    for moment, stack, wanted in stacks(program, 24):
        count += 1
        sure = [frame.pc for frame in takewhile(lambda one: one.trust != "scan", stack.frames)]
        whole += [frame.pc for frame in stack.frames] == wanted
        if sure != wanted[: len(sure)]:
            wrong.append((moment.step, list(map(hex, sure)), list(map(hex, wanted))))
    print(f"{whole} of {count} stacks whole, {len(wrong)} wrong")
    assert wrong == []
    assert whole > 0.8 * count
