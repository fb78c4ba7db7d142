"""C++ of other machines: names of templates and anonymous namespaces, frames that exceptions pass.
Names and pcs are gdb's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.analysed import analyse, their_groups
from tests.support.cross import compile_for, crash
from tests.support.cross_targets import TARGETS, Target
from tests.support.oracle import gdb_frames

SOURCE = Path("thrown.cc")
STRING = "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char>>"
SHELF = "(anonymous namespace)::Shelf<double>"
LAMBDA = "caught(char const*)::'lambda'(int)"
OPERATOR = f"{LAMBDA}::operator()(int) const"
CAUGHT = [
    "(anonymous namespace)::faults(int)",
    "operator()",
    f"int (anonymous namespace)::repeat<3, {LAMBDA}>({LAMBDA})",
    "caught(char const*)",
    "main",
]
UNCAUGHT = [
    "std::terminate()",
    "__cxa_throw",
    f"{SHELF}::throws({STRING} const&)",
    f"{SHELF}::fetch({STRING} const&)",
    "uncaught(char const*)",
    "main",
]


@pytest.fixture(params=["aarch64", "arm", "riscv64"])
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


@pytest.mark.parametrize("level", ["-O0", "-O1"])
def test_crash_in_a_handler_of_an_exception(target: Target, tmp_path: Path, level: str) -> None:
    done = crash(target, compile_for(target, SOURCE, level), tmp_path, "caught")
    ours = analyse(done.core)
    stack = ours.stack()
    names = [one.function for frame in stack.frames for one in ours.locations(frame)]
    inlined = names[1] == "caught::{lambda}::operator()"  # then there is no linker's name
    assert names[:5] == [CAUGHT[0], names[1] if inlined else OPERATOR, *CAUGHT[2:]]
    assert stack.end == "end of stack"
    theirs = gdb_frames(done.core, done.program, sysroot=target.sysroot)
    wanted = their_groups(theirs[ours.image.threads[0].tid])
    at = [pc for pc, names in wanted].index(stack.frames[names.index("main") - 1].pc)
    assert [hex(frame.pc) for frame in stack.frames[: at + 1]] == [
        hex(pc) for pc, _ in wanted[: at + 1]
    ]


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_exception_that_nobody_catches(target: Target, tmp_path: Path, level: str) -> None:
    """Through the C++ library: its std::terminate has no call frame information on ARM."""
    ours = analyse(crash(target, compile_for(target, SOURCE, level), tmp_path, "uncaught").core)
    stack = ours.stack()
    names = [one.function for frame in stack.frames for one in ours.locations(frame)]
    at = names.index("std::terminate()")
    assert names[at : at + 6] == UNCAUGHT
    assert stack.end == "end of stack"
