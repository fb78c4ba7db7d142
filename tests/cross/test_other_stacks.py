"""Power, s390x and MIPS: registers in windows of the caller, calls with a delay slot, both byte
orders. Every stack has the functions' names, and gdb's pcs as far as gdb comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.analysed import Analysed, analyse, their_groups
from tests.support.cross import Crashed, compile_for, crash
from tests.support.cross_targets import TARGETS, Target
from tests.support.oracle import gdb_frames

SOURCE = Path("crash.c")
FAULT = ["leaf", "inner", "middle"]
WAYS = {
    "nested": [*FAULT, "main"],
    "siginfo": [*FAULT, "info_handler"],
    "signal": [*FAULT, "handler"],
    "abort": ["abort", "aborts", "main"],
    "jump": ["calls_nowhere", "main"],
}
# gdb knows the kernel's signal frames; those of qemu for 64-bit Power lie 16 bytes elsewhere
GDB_STOPS = {("ppc64le", "signal"), ("ppc64le", "siginfo")}


@pytest.fixture(params=["ppc64le", "s390x", "mips"])
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


def mine_as_gdbs(ours: Analysed, done: Crashed, how: str) -> None:
    theirs = gdb_frames(done.core, done.program, sysroot=done.target.sysroot)
    mine = [hex(frame.pc) for frame in ours.stack().frames]
    groups = their_groups(theirs[ours.image.threads[0].tid])
    wanted = [hex(pc) for pc, _ in groups if pc]  # (on Power gdb goes on to address 0)
    if (done.target.name, how) in GDB_STOPS:
        wanted = wanted[: len(WAYS[how])]
    assert mine[: len(wanted)] == wanted


@pytest.mark.parametrize("flags", [("-O0",), ("-O2",), ("-O2", "-static")], ids=" ".join)
@pytest.mark.parametrize("how", WAYS)
def test_stack(target: Target, tmp_path: Path, how: str, flags: tuple[str, ...]) -> None:
    done = crash(target, compile_for(target, SOURCE, *flags), tmp_path, how)
    ours = analyse(done.core)
    stack = ours.stack()
    names = [name for name in ours.names(stack) if name]
    wanted = WAYS[how]
    start = names.index(wanted[0])
    assert names[start : start + len(wanted)] == wanted
    if "signal" in how or "siginfo" in how:
        assert sum(frame.signal_frame for frame in stack.frames) == 1
        assert names[names.index("raise") + 1 :][:2] in (
            ["in_info_signal", "main"],
            ["in_signal", "main"],
        )
    assert stack.end == "end of stack"
    assert ours.image.threads[0].signal == (6 if how == "abort" else 11)
    mine_as_gdbs(ours, done, how)


def test_lines(target: Target, tmp_path: Path) -> None:
    program = compile_for(target, SOURCE, "-O0")
    ours = analyse(crash(target, program, tmp_path, "nested").core)
    places = [ours.locations(frame)[-1] for frame in ours.stack().frames[:4]]
    source = program.with_name("program.c").read_text().splitlines()
    lines = [source[(place.line or 0) - 1] for place in places]
    assert "return *pointer" in lines[0]
    assert "leaf(nowhere)" in lines[1]
    assert "inner(value + 1)" in lines[2]
