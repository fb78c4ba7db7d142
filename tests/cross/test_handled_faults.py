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


NO_TABLES = """
#include <signal.h>
__attribute__((noinline)) int within(volatile int *at) { *at = 1; return *at + 1; }
__attribute__((noinline)) void handler(int number) { number += within((int *)16); (void)number; }
__attribute__((noinline)) int faults(volatile int *at) { return *at + 1; }
__attribute__((noinline)) int caller(int value) { return faults((int *)(long)value) + 2; }
int main(int count, char **names) { (void)names;
    signal(SIGSEGV, handler);
    return caller(15 + count) + 3; }
"""


@pytest.mark.parametrize("name", ["aarch64", "arm", "ppc64le", "mips"])
def test_handlers_without_call_frame_information(name: str, tmp_path: Path) -> None:
    """A handler's return address, the trampoline's, stands behind no call."""
    target = TARGETS[name]
    flags = ("-O1", "-static", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-g0")
    program = compile_for(target, NO_TABLES, *flags)
    ours = analyse(crash(target, program, tmp_path, passed=1).core)
    stack = ours.stack()
    named = [name for frame in stack.frames for name in [ours.locations(frame)[-1].function]]
    assert named[:2] == ["within", "handler"] and named[3:6] == ["faults", "caller", "main"]
    assert stack.frames[2].signal_frame and stack.frames[2].trust == Trust.CALL_RECOVERY
    assert stack.frames[3].exact and stack.frames[3].trust == Trust.CONTEXT
