"""The cores that qemu writes itself, which have no list of files: what lies where is told by the
auxiliary vector and the dynamic loader's chain. Of RISC-V and SPARC it writes none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.analysed import analyse
from tests.support.cross import compile_for, own_core
from tests.support.cross_targets import I386, TARGETS, Target
from usercrash.analysis.core.file_search import Place, SearchPlaces
from usercrash.analysis.core.module_files import PathFiles

MACHINES = [
    *(TARGETS[name] for name in ("aarch64", "arm", "ppc64le", "s390x", "mips")), I386,
]  # fmt: skip


def names_of(target: Target, program: Path, core: Path) -> tuple[list[str], str]:
    sysroot = SearchPlaces(sysroot=Place(bytes(target.sysroot)))
    ours = analyse(core, PathFiles(places=sysroot), exe=program)
    stack = ours.stack()
    return ours.names(stack), stack.end


@pytest.mark.parametrize("flags", [("-O2",), ("-O2", "-static")], ids=" ".join)
@pytest.mark.parametrize("target", MACHINES, ids=lambda target: target.name)
def test_stack(target: Target, tmp_path: Path, flags: tuple[str, ...]) -> None:
    program = compile_for(target, Path("crash.c"), *flags)
    core = own_core(target, program, tmp_path, "siginfo")
    assert core is not None
    names, end = names_of(target, program, core)
    assert names[:4] == ["leaf", "inner", "middle", "info_handler"]
    assert names[names.index("raise") + 1 :][:2] == ["in_info_signal", "main"]
    assert end == "end of stack"


@pytest.mark.parametrize("name", ["aarch64", "arm"])
def test_exception(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    program = compile_for(target, Path("thrown.cc"), "-O1")
    core = own_core(target, program, tmp_path, "uncaught")
    assert core is not None
    names, end = names_of(target, program, core)
    at = names.index("std::terminate")
    assert [part.rpartition("::")[2] for part in names[at:]][:6] == [
        "terminate", "__cxa_throw", "throws", "fetch", "uncaught", "main",
    ]  # fmt: skip
    assert end == "end of stack"


def test_machines_without(tmp_path: Path) -> None:
    target = TARGETS["riscv64"]
    assert own_core(target, compile_for(target, Path("crash.c"), "-O2"), tmp_path) is None


@pytest.mark.parametrize("name", ["aarch64_be", "armeb"])
def test_big_endian_arm(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    flags = ("-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector")
    program = compile_for(target, Path("bare.c"), *flags)
    core = own_core(target, program, tmp_path)
    assert core is not None
    names, end = names_of(target, program, core)
    assert names == ["leaf", "inner", "middle", "_start"]
    assert end == "end of stack"
