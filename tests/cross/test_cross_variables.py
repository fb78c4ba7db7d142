"""Variables of other machines' programs, of either byte order, beside gdb's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cross import compile_for, crash
from tests.support.cross_targets import TARGETS
from tests.support.variables_compare import (
    DIFFERENT,
    EQUAL,
    MISSING,
    WORSE,
    compare,
    gdb_variables,
    report_of,
)

SOURCE = Path(__file__).parent.parent / "variables" / "values.c"
# Of callers, what floating point registers held is not followed; of no other variable less is known
FLOATS = {"weight", "ratio", "yes"}


@pytest.mark.parametrize(
    ("name", "level", "least"),
    [("s390x", "-O0", 45), ("mips", "-O2", 40), ("aarch64", "-O2", 35)],
)
def test_variables(name: str, level: str, least: int, tmp_path: Path) -> None:
    target = TARGETS[name]
    narrow = ["-D__int128=int64_t"] if target.elf_class == 1 else []
    program = compile_for(target, SOURCE.read_text(), "-g", level, "-w", *narrow)
    done = crash(target, program, tmp_path)
    theirs = gdb_variables(done.core, done.program, target.sysroot)
    found = compare(report_of(done.core, done.program), theirs)
    wrong = [line for line in found.lines if line.verdict in (DIFFERENT, MISSING)]
    worse = {line.name for line in found.lines if line.verdict == WORSE}
    assert (wrong, worse - FLOATS) == ([], set())
    assert found.counts[EQUAL] >= least
