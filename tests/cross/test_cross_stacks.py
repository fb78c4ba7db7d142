"""Cores of other machines: every stack is gdb's, and has the names of the functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.analysed import Analysed, analyse, their_groups
from tests.support.cross import TARGETS, Crashed, Target, compile_for, crash
from tests.support.oracle import gdb_frames

SOURCE = Path("crash.c")
FAULT = ["leaf", "inner", "middle"]


@pytest.fixture(params=["aarch64", "riscv64"])
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


def crashed(target: Target, place: Path, how: str, *flags: str) -> tuple[Crashed, Analysed]:
    done = crash(target, compile_for(target, SOURCE, *flags), place, how)
    return done, analyse(done.core)


def ours_as_gdbs(ours: Analysed, done: Crashed) -> None:
    """All threads have gdb's pcs, as far as gdb came."""
    theirs = gdb_frames(done.core, done.program, sysroot=done.target.sysroot)
    for number, thread in enumerate(ours.image.threads):
        mine = [frame.pc for frame in ours.stack(number).frames]
        wanted = [pc for pc, _ in their_groups(theirs[thread.tid])]
        assert list(map(hex, mine[: len(wanted)])) == list(map(hex, wanted))


@pytest.mark.parametrize("flags", [("-O0",), ("-O2",), ("-static",)], ids=" ".join)
def test_nested(target: Target, tmp_path: Path, flags: tuple[str, ...]) -> None:
    done, ours = crashed(target, tmp_path, "nested", *flags)
    stack = ours.stack()
    names = ours.names(stack)
    assert names[:4] == [*FAULT, "main"]
    assert stack.end == "end of stack"
    assert ours.image.threads[0].signal == 11
    places = [ours.locations(frame)[-1] for frame in stack.frames[:4]]
    assert all(place.file and place.file.endswith("program.c") for place in places)
    lines = [place.line for place in places]
    source = compile_for(target, SOURCE, *flags).with_name("program.c").read_text().splitlines()
    assert "return *pointer" in source[(lines[0] or 0) - 1]
    assert "leaf(nowhere)" in source[(lines[1] or 0) - 1]
    ours_as_gdbs(ours, done)
