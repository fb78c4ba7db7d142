"""LoongArch: Debian 12 has no C compiler for it, but Go's makes its code and debug information.
gdb 13 finds no threads in these cores; the source says what the stack must be."""

from __future__ import annotations

from pathlib import Path

from tests.support.analysed import analyse
from tests.support.cross import compile_go, crash, own_core
from tests.support.cross_targets import LOONGARCH64

SOURCE = Path("leaf.go")
STACK = {
    "main.leaf": "return *pointer",
    "main.inner": "leaf(nowhere)",
    "main.middle": "inner(value + 1)",
    "main.main": "middle(3)",
}


def test_stack(tmp_path: Path) -> None:
    program = compile_go("loong64", SOURCE)
    ours = analyse(crash(LOONGARCH64, program, tmp_path).core, exe=program)
    stack = ours.stack()
    assert ours.image.arch.name == "loongarch64"
    assert ours.names(stack) == [*STACK, "runtime.main", "runtime.goexit"]
    assert stack.end == "end of stack"
    source = program.with_name("program.go").read_text().splitlines()
    for frame, call in zip(stack.frames, STACK.values(), strict=False):
        assert call in source[(ours.locations(frame)[-1].line or 0) - 1]


def test_core_of_qemu(tmp_path: Path) -> None:
    """Its registers are where the kernel's header says; Go dies in its own handler of the signal,
    at whose entrance a stack begins."""
    program = compile_go("loong64", SOURCE)
    core = own_core(LOONGARCH64, program, tmp_path, environment={"GOTRACEBACK": "crash"})
    assert core is not None
    ours = analyse(core, exe=program)
    names = ours.names(ours.stack())
    assert names[0] == "runtime.raise"
    assert names[-2:] == ["runtime.sigtrampgo", "runtime.sigtramp"]
