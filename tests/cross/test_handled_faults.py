"""A handler of a fault that crashes itself: below the trampoline stands what faulted, where it
did, and its callers as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.analysed import analyse
from tests.support.cross import compile_for, crash
from tests.support.cross_targets import TARGETS
from usercrash.analysis.unwinding.unwind import Trust

MACHINES = ["aarch64", "arm", "riscv64", "ppc64le", "s390x", "mips"]


@pytest.mark.parametrize("flags", [("-O0",), ("-O2", "-static")], ids=" ".join)
@pytest.mark.parametrize("name", MACHINES)
def test_stack(name: str, tmp_path: Path, flags: tuple[str, ...]) -> None:
    target = TARGETS[name]
    program = compile_for(target, Path("crash.c"), *flags)
    ours = analyse(crash(target, program, tmp_path, "fault", passed=1).core)
    stack = ours.stack()
    names = ours.names(stack)
    assert names[0] == "direct_handler"
    assert names[2:5] == ["leaf", "in_fault", "main"]
    assert [frame.signal_frame for frame in stack.frames].index(True) == 1
    assert stack.frames[2].exact and stack.frames[2].trust == Trust.CONTEXT
    source = program.with_name("program.c").read_text().splitlines()
    line = ours.locations(stack.frames[2])[-1].line
    assert "return *pointer" in source[(line or 0) - 1]
    assert stack.end == "end of stack"
