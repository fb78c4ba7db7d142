"""Functions that ended with a jump: shown as gdb shows them, where the compiler says which they
were; else the report says that there were some."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.support.analysed import analyse
from tests.support.gcore import gcore_at_fault
from tests.support.oracle import OracleFrame, gdb_frames
from tests.support.spawn import compile_c
from tests.support.tail_calls_proved import proved

from usercrash.analysis.assemble import assemble
from usercrash.render.screen import render_screen
from usercrash.report import Frame, Report

CHAIN = r"""
#define KEEP __attribute__((noinline, noclone))
KEEP int leaf(volatile int *p) { *p = 1; return *p + 1; }
KEEP int third(volatile int *p) { __asm__ volatile("nop"); return leaf(p + 1); }
KEEP int second(volatile int *p) { __asm__ volatile("nop"); return third(p + 1); }
KEEP int first(volatile int *p) { __asm__ volatile("nop"); return second(p + 1); }
KEEP int base(int c) {
    int x = first((int *)(long)(c * 8)); __asm__ volatile(""); return x + 1;
}
int main(int c, char **v) { (void)v; int x = base(c); __asm__ volatile(""); return x; }
"""

# Two ways lead from `first` to `leaf`.
FORK = r"""
#define KEEP __attribute__((noinline, noclone))
KEEP int leaf(volatile int *p) { *p = 1; return *p + 1; }
KEEP int left(volatile int *p) { __asm__ volatile("nop"); return leaf(p + 1); }
KEEP int right(volatile int *p) { __asm__ volatile("nop; nop"); return leaf(p + 2); }
KEEP int first(int c, volatile int *p) { return c > 1 ? left(p) : right(p); }
KEEP int base(int c) { int x = first(c, (int *)8); __asm__ volatile(""); return x + 1; }
int main(int c, char **v) { (void)v; int x = base(c); __asm__ volatile(""); return x; }
"""

# Of a function of another file the debug information has a declaration: the jump says where it is.
DECLARED = r"""
#define KEEP __attribute__((noinline, noclone))
int leaf(int *p);
__asm__(".globl leaf; .type leaf, @function; leaf: .cfi_startproc; xor %eax, %eax;"
        "mov %eax, (%eax); ret; .cfi_endproc; .size leaf, . - leaf");
KEEP int middle(int *p) { __asm__ volatile("nop"); return leaf(p + 1); }
KEEP int base(int *p) { int x = middle(p); __asm__ volatile(""); return x + 1; }
int main(void) { int x = base(0); __asm__ volatile(""); return x; }
"""

DIE = r"""
#include <stdlib.h>
__attribute__((noinline)) void die(void) { abort(); }
int main(int c, char **v) { (void)v; if (c) die(); return 0; }
"""

DEEP = r"""
#define KEEP __attribute__((noinline, noclone))
KEEP int even(int n, volatile int *p);
KEEP int step(int n, volatile int *p) { __asm__ volatile("nop"); return even(n - 1, p); }
KEEP int even(int n, volatile int *p) {
    if (!n) *p = 1;
    int x = step(n, p); __asm__ volatile(""); return x + 1;
}
int main(int c, char **v) { (void)v; return even(c * 500, (int *)8); }
"""


def crash(place: Path, source: str, *flags: str) -> tuple[Report, list[OracleFrame]]:
    """The report of the program's death, and gdb's frames."""
    program = compile_c(place, "program", source, *flags)
    core = gcore_at_fault([bytes(program)], place / "core")
    ours = analyse(core)
    report = assemble(ours.image, ours.modules, ours.symbolizer, "0" * 32)
    return report, gdb_frames(core, program)[ours.image.threads[0].tid]


def skipped(frames: list[Frame]) -> list[tuple[int, int]]:
    """(index among the frames with a pc of their own, pc) of the tail-call frames."""
    real = [frame for frame in frames if not frame.inline]
    return [(at, int(one.pc, 16)) for at, one in enumerate(real) if one.trust == "tail-call"]


def theirs(frames: list[OracleFrame]) -> list[tuple[int, int]]:
    real = [frame for frame in frames if frame.kind != "inline"]
    return [(at, one.pc) for at, one in enumerate(real) if one.kind == "tailcall"]


def test_a_chain_is_that_of_gdb(tmp_path: Path) -> None:
    report, oracle = crash(tmp_path, CHAIN, "-O2")
    frames = report.threads[0].frames
    assert [frame.function for frame in frames][:6] == [
        "leaf", "third", "second", "first", "base", "main",
    ]  # fmt: skip
    assert [frame.index for frame in frames] == list(range(report.threads[0].frames_total))
    assert [frame.trust for frame in frames][1:4] == ["tail-call"] * 3
    assert all(frame.sp is None for frame in frames[1:4])
    assert len(skipped(frames)) == 3
    assert skipped(frames) == theirs(oracle)
    assert not any(frame.by_tail_call for frame in frames)
    text = render_screen(report)
    assert "(tail call, program" in text and "no more on the stack: it ended with a jump" in text


@pytest.mark.parametrize("bits", [64, 32])
def test_a_function_of_another_file(
    bits: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if bits == 32:
        request.getfixturevalue("needs_32_bits")
    report, oracle = crash(tmp_path, DECLARED, "-O2", f"-m{bits}", "-fno-pie", "-no-pie")
    frames = report.threads[0].frames
    assert [frame.function for frame in frames][:4] == ["leaf", "middle", "base", "main"]
    assert len(skipped(frames)) == 1
    assert skipped(frames) == theirs(oracle)


def test_abort_of_the_c_library(tmp_path: Path) -> None:
    report, oracle = crash(tmp_path, DIE, "-O2")
    frames = report.threads[0].frames
    assert skipped(frames) == theirs(oracle)
    assert report.cause is not None and report.cause.kind == "abort"


def test_two_ways_are_a_gap(tmp_path: Path) -> None:
    report, oracle = crash(tmp_path, FORK, "-O2")
    frames = report.threads[0].frames
    assert [frame.function for frame in frames][:3] == ["leaf", "base", "main"]
    assert [frame.by_tail_call for frame in frames][:3] == [True, False, False]
    assert [one.name for one in oracle if one.kind == "tailcall"] in ([], ["first"])
    assert "[by a tail call]" in render_screen(report, part="first")


def test_the_certain_part_of_two_ways(tmp_path: Path) -> None:
    """`start` jumped to `first`, and `last` to `leaf`; what was between these is not told."""
    source = FORK.replace("{ return leaf(p + 1); }", "{ return last(p + 1); }")
    source = source.replace("return leaf(p + 1)", "return last(p + 1)")
    source = source.replace("return leaf(p + 2)", "return last(p + 2)")
    source = source.replace(
        "KEEP int left",
        """KEEP int last(volatile int *p)
        { __asm__ volatile("nop"); return leaf(p + 1); }
    KEEP int left""",
    ).replace(
        "KEEP int base(int c) { int x = first(c, (int *)8)",
        """KEEP int start
        (int c, volatile int *p) { __asm__ volatile("nop"); return first(c + 1, p); }
    KEEP int base(int c) { int x = start(c, (int *)8)""",
    )
    report, oracle = crash(tmp_path, source, "-O2")
    frames = report.threads[0].frames
    shown = [(frame.function, frame.trust == "tail-call", frame.by_tail_call) for frame in frames]
    assert shown[:5] == [
        ("leaf", False, False), ("last", True, True), ("start", True, False),
        ("base", False, False), ("main", False, False),
    ]  # fmt: skip
    assert [frame.index for frame in frames] == list(range(report.threads[0].frames_total))
    assert {one.name for one in oracle if one.kind == "tailcall"} <= {"last", "start", "first"}
    assert "by a tail call" in render_screen(report, part="first")


def test_without_debug_information_it_is_a_gap(tmp_path: Path) -> None:
    report, oracle = crash(tmp_path, CHAIN, "-O2", "-g0")
    frames = report.threads[0].frames
    assert [frame.function for frame in frames][:3] == ["leaf", "base", "main"]
    assert [frame.by_tail_call for frame in frames][:3] == [True, False, False]
    assert theirs(oracle) == skipped(frames) == []


def test_in_a_cycle(tmp_path: Path) -> None:
    report, oracle = crash(tmp_path, DEEP, "-O2")
    thread = report.threads[0]
    assert thread.frames_total == len([one for one in oracle if one.kind != "inline"])
    (fold,) = thread.folds
    inside = [frame for frame in thread.frames
              if fold.start <= frame.index < fold.start + fold.length]  # fmt: skip
    assert {frame.function for frame in inside} == {"even", "step"} and fold.length == 2
    shown = {frame.index: frame.function for frame in thread.frames}
    for frame in thread.frames:
        round_ = frame.index - fold.start
        if 0 <= round_ < fold.length * fold.times:
            assert frame.function == shown[fold.start + round_ % fold.length]


def test_ordinary_calls_are_none(tmp_path: Path) -> None:
    """Also into the parts that a compiler lays elsewhere."""
    report, _ = crash(tmp_path, CHAIN, "-O2", "-fno-optimize-sibling-calls", "-g0")
    frames = report.threads[0].frames
    assert [frame.function for frame in frames][:5] == [
        "leaf", "third", "second", "first", "base",
    ]  # fmt: skip
    assert not any(frame.by_tail_call for frame in frames)


def test_ways_that_meet_again_are_two(tmp_path: Path) -> None:
    """`left` or `right` jumped to `middle`: neither is shown, though both lead on by one way."""
    source = FORK.replace(
        "KEEP int left",
        """KEEP int middle(volatile int *p)
        { __asm__ volatile("nop"); return leaf(p + 1); }
    KEEP int left""",
    )
    source = source.replace('("nop"); return leaf(p + 1); }\nKEEP int right', '("nop"); return '
                            'middle(p + 1); }\nKEEP int right')  # fmt: skip
    source = source.replace("return leaf(p + 2)", "return middle(p + 2)")
    report, _ = crash(tmp_path, source, "-O2")
    frames = report.threads[0].frames
    shown = [(frame.function, frame.by_tail_call) for frame in frames]
    assert shown[:4] == [("leaf", False), ("middle", True), ("base", False), ("main", False)]


def test_what_the_proof_of_a_tail_call_asks(tmp_path: Path) -> None:
    """(with which the corpus's tail-call frames are judged)"""
    report, told = crash(tmp_path, CHAIN, "-O2")
    frames = report.threads[0].frames
    places = [at for at, frame in enumerate(frames) if frame.trust == "tail-call"]
    assert [frames[at].function for at in places] == ["third", "second", "first"]
    for at in places:
        assert proved(frames, at, told) and proved(frames, at, [])
        wrong = msgspec.structs.replace(frames[at], function="other", offset=1)
        changed = [*frames[:at], wrong, *frames[at + 1 :]]
        assert not proved(changed, at, told) and not proved(changed, at, [])
