"""Tail calls through linkage stubs of other machines, within a library and from a program to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.analysed import analyse
from tests.support.cross import compile_for, crash
from tests.support.cross_targets import TARGETS
from usercrash.analysis.assemble import assemble

LIBRARY = r"""
typedef int back(volatile int *);
int outer_r(volatile int *p, back *f) { int x = f(p); __asm__ volatile(""); return x + 1; }
int outer(back *f) { __asm__ volatile("nop"); return outer_r((volatile int *)8, f); }
"""
PROGRAM = r"""
typedef int back(volatile int *);
int outer(back *f);
static int dies(volatile int *p) { *p = 1; return *p; }
__attribute__((noinline)) int leaving(back *f) { __asm__ volatile("nop"); return outer(f); }
int main(int c, char **v) { (void)v; int x = leaving(dies); __asm__ volatile(""); return x + c; }
"""


@pytest.mark.parametrize("name", ["aarch64", "arm", "riscv64", "ppc64le", "s390x"])
def test_stack(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    library = compile_for(target, LIBRARY, "-O2", "-shared", "-fPIC")
    program = compile_for(target, PROGRAM, "-O2", f"-Wl,--no-as-needed,{library}")
    ours = analyse(crash(target, program, tmp_path).core)
    frames = assemble(ours.image, ours.modules, ours.symbolizer, "0" * 32).threads[0].frames
    functions = [frame.function for frame in frames][:5]
    assert functions == ["dies", "outer_r", "outer", "leaving", "main"]
    # (Power's callee may have changed the register that leads to the table: no jumps there)
    trust = "cfi" if name == "ppc64le" else "tail-call"
    assert [str(frame.trust) for frame in frames][1:4] == ["cfi", trust, trust]
    assert not any(frame.by_tail_call for frame in frames)
