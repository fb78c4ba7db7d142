"""Tail calls beyond the procedure linkage table: what was called is what the dynamic linker bound
the stub to, or the only function of its name."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support.analysed import Analysed, analyse
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.oracle import OracleFrame, gdb_frames

from usercrash.analysis.assemble import assemble
from usercrash.analysis.symbols.bindings import Bindings
from usercrash.analysis.symbols.tail_calls import NOTHING, Skipped, TailCalls
from usercrash.elf.headers import PF_W
from usercrash.report import Frame

INNER = r"""
typedef int back(volatile int *);
int outer_r(volatile int *p, back *f) { int x = f(p); __asm__ volatile(""); return x + 1; }
int outer(back *f) { __asm__ volatile("nop"); return outer_r((volatile int *)8, f); }
"""
MIDDLE = r"""
typedef int back(volatile int *);
int outer(back *f);
int middle_r(back *f) { int x = outer(f); __asm__ volatile(""); return x + 1; }
int middle(back *f) { __asm__ volatile("nop"); return middle_r(f); }
int leaving(back *f) { __asm__ volatile("nop; nop"); return outer(f); }
"""
# (the second call of a function finds its stub bound)
PROGRAM = r"""
typedef int back(volatile int *);
int middle(back *f);
int leaving(back *f);
int outer_r(volatile int *p, back *f);
static int ends(volatile int *p) { return (int)(long)p; }
static int dies(volatile int *p) { *p = 1; return *p; }
int (*volatile pointer)(back *) = middle;
int main(int c, char **v) {
    (void)v;
    int x = CALL(ends); __asm__ volatile(""); x += CALL(dies); __asm__ volatile("");
    return x + c;
}
"""
# One of two functions is chosen at run time; it calls, as an ordinary function does.
CHOSEN = r"""
typedef int back(volatile int *);
static int first(back *f) { int x = f((volatile int *)8); __asm__ volatile(""); return x + 1; }
static int second(back *f) { int x = f((volatile int *)16); __asm__ volatile(""); return x + 1; }
extern char **environ;
static int (*choose(void))(back *) { return environ == (char **)1 ? first : second; }
int middle(back *f) __attribute__((ifunc("choose")));
int leaving(back *f) { __asm__ volatile("nop"); return middle(f); }
int outer_r(volatile int *p, back *f) { return f(p); }
"""


@dataclass(slots=True)
class Crash:
    """A program's death as we see it and as gdb does."""

    ours: Analysed
    frames: list[Frame]
    theirs: list[OracleFrame]

    def names(self, count: int) -> list[str]:
        """The innermost functions: those of tail calls in brackets, a gap behind as `*`."""
        found = []
        for frame in self.frames[:count]:
            name = frame.function or "?"
            name = f"({name})" if frame.trust == "tail-call" else name
            found.append(f"{name}*" if frame.by_tail_call else name)
        return found

    def between(self, *, words: bool) -> list[Skipped]:
        """What is between the frames, with and without what the words of the global offset table
        hold, which a minicore does not have."""
        ours = self.ours

        def read(address: int, size: int) -> bytes:
            module = ours.modules.find(address)
            elf = module.elf if module is not None else None
            segment = elf.segment_at(address - module.bias) if elf and module else None
            writable = segment is not None and segment.flags & PF_W
            return b"" if writable and not words else ours.memory.read(address, size)

        calls = TailCalls(Bindings(ours.modules, ours.symbolizer, read, ours.image.arch))
        frames = ours.stack().frames
        return [calls.between(callee.lookup_pc, caller.pc) for callee, caller in pairwise(frames)]


def _library(place: Path, name: str, source: str, *flags: str | Path) -> Path:
    (place / f"{name}.c").write_text(source)
    library = place / f"lib{name}.so"
    _compile(place / f"{name}.c", library, *flags, "-shared", "-fPIC", f"-Wl,-soname,{library}")
    return library


def _compile(source: Path, output: Path, *flags: str | Path) -> None:
    command = [need("gcc", "gcc"), "-o", output, source, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _crash(place: Path, call: str, *flags: str, middle: str = MIDDLE, inner_too: str = "") -> Crash:
    inner = _library(place, "inner", INNER + inner_too, *flags)
    library = _library(place, "middle", middle, inner, *flags)
    source, program = place / "program.c", place / "program"
    source.write_text(PROGRAM)
    _compile(source, program, f"-DCALL={call}", *flags, library, inner)
    core = gcore_at_fault([os.fsencode(program)], place / "core")
    ours = analyse(core)
    frames = assemble(ours.image, ours.modules, ours.symbolizer, "0" * 32).threads[0].frames
    return Crash(ours, frames, gdb_frames(core, program)[ours.image.threads[0].tid])


def _as_gdb(crash: Crash) -> bool:
    ours = [(int(frame.pc, 16), frame.trust == "tail-call") for frame in crash.frames]
    return ours == [(frame.pc, frame.kind == "tailcall") for frame in crash.theirs]


TO_LIBRARY = ["dies", "outer_r", "(outer)", "middle_r", "(middle)", "main"]
THROUGH_LIBRARY = ["dies", "outer_r", "(outer)", "(leaving)", "main"]


@pytest.mark.parametrize(
    ("call", "wanted", "how"),
    [
        ("middle", TO_LIBRARY, ()),
        ("middle", TO_LIBRARY, ("-fno-pie", "-no-pie", "-Wl,-z,now")),
        ("leaving", THROUGH_LIBRARY, ()),
        ("leaving", THROUGH_LIBRARY, ("-fno-plt",)),
    ],
)
def test_between_libraries(
    call: str, wanted: list[str], how: tuple[str, ...], tmp_path: Path
) -> None:
    crash = _crash(tmp_path, call, "-O2", "-g", *how)
    assert crash.names(len(wanted)) == wanted
    assert _as_gdb(crash)
    assert crash.between(words=False) == crash.between(words=True)


def test_32_bits_through_another_register(tmp_path: Path, needs_32_bits: None) -> None:
    crash = _crash(tmp_path, "middle", "-O2", "-g", "-m32", "-fno-plt", "-fpie", "-pie")
    assert crash.names(6) == ["dies", "outer_r", "outer", "middle_r", "(middle)", "main"]
    assert _as_gdb(crash)
    assert crash.between(words=False) == crash.between(words=True)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("middle", ["dies", "outer_r*", "middle_r*", "main"]),
        ("leaving", ["dies", "outer_r*", "main"]),
        ("pointer", ["dies", "outer_r*", "middle_r", "main"]),
    ],
)
def test_without_debug_information_it_is_a_gap(
    call: str, wanted: list[str], tmp_path: Path
) -> None:
    crash = _crash(tmp_path, call, "-O2")
    assert crash.names(len(wanted)) == wanted
    assert crash.between(words=False) == crash.between(words=True)


def test_two_functions_of_one_name(tmp_path: Path) -> None:
    """Which one was called only the word in memory tells."""
    crash = _crash(tmp_path, "middle", "-O2", "-g", inner_too="int middle(void) { return 1; }")
    assert crash.names(6) == TO_LIBRARY
    assert [bool(one.pcs) for one in crash.between(words=True)[:3]] == [False, True, True]
    assert [one != NOTHING for one in crash.between(words=False)[:3]] == [False, True, False]


def test_a_function_chosen_at_run_time(tmp_path: Path) -> None:
    crash = _crash(tmp_path, "middle", "-O2", "-g", middle=CHOSEN)
    assert crash.names(3) == ["dies", "second", "main"]
    assert set(crash.between(words=False)) == set(crash.between(words=True)) == {NOTHING}


def test_a_tail_call_of_a_function_chosen_at_run_time(tmp_path: Path) -> None:
    """Which was chosen only the word in memory tells."""
    crash = _crash(tmp_path, "leaving", "-O2", "-g", middle=CHOSEN)
    assert crash.names(4) == ["dies", "second", "(leaving)", "main"]
    assert crash.between(words=False)[1] == Skipped(unknown=True)


def test_ordinary_calls_are_none(tmp_path: Path) -> None:
    crash = _crash(tmp_path, "middle", "-O2", "-fno-optimize-sibling-calls")
    assert crash.names(6) == ["dies", "outer_r", "outer", "middle_r", "middle", "main"]
    assert set(crash.between(words=False)) == set(crash.between(words=True)) == {NOTHING}
