"""Arguments and locals of all frames, beside gdb's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.variables_compare import (
    DIFFERENT,
    EQUAL,
    MISSING,
    WORSE,
    compare,
    gdb_variables,
    report_of,
)

HERE = Path(__file__).parent
# Compiler and flags; how many values are equal, at least
C = {
    "gcc-O0": ("gcc -g -O0", 45),
    "gcc-O1-dwarf4": ("gcc -gdwarf-4 -O1", 30),
    "gcc-O2": ("gcc -g -O2", 30),
    "gcc-split": ("gcc -g -gsplit-dwarf -O2", 30),
    "gcc-m32": ("gcc -m32 -D__int128=int64_t -g -O1", 30),
    "clang-O0": ("clang -g -O0", 45),
    "clang-O2-dwarf4": ("clang -gdwarf-4 -O2", 30),
}


def build(command: str, source: Path, exe: Path) -> None:
    """Compile; the compiler must be there."""
    compiler, *flags = command.split()
    line = [need(compiler, compiler), *flags, "-w", "-o", str(exe), str(source)]
    subprocess.run(line, check=True, cwd=exe.parent)


@pytest.mark.parametrize("name", C)
def test_c(name: str, tmp_path: Path) -> None:
    command, least = C[name]
    exe = tmp_path / "values"
    build(command, HERE / "values.c", exe)
    core = gcore_at_fault([bytes(exe)], tmp_path / "core")
    found = compare(report_of(core), gdb_variables(core, exe))
    wrong = [line for line in found.lines if line.startswith((WORSE, DIFFERENT, MISSING))]
    assert not wrong, "\n".join(found.lines)
    assert found.counts[EQUAL] >= least
