"""Arguments and locals of all frames, beside gdb's: what both know is equal."""

from __future__ import annotations

import shutil
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
    Comparison,
    build,
    compare,
    gdb_variables,
    report_of,
)
from usercrash.report import Report

HERE = Path(__file__).parent
USER_IS_NULL = "request->session->user is null: read of its member id."
NEXT_IS_NULL = "this->next is null: read of its table of virtual functions."
# Compiler and flags; how many values are equal, at least; what the cause says
C = {
    "gcc-O0": ("gcc -g -O0", 45, USER_IS_NULL),
    "gcc-O1-dwarf4": ("gcc -gdwarf-4 -O1", 30, USER_IS_NULL),
    "gcc-O2": ("gcc -g -O2", 30, USER_IS_NULL),
    "gcc-O3-types": ("gcc -gdwarf-5 -fdebug-types-section -O3", 30, USER_IS_NULL),
    "gcc-split": ("gcc -g -gsplit-dwarf -O2", 30, USER_IS_NULL),
    "gcc-m32": ("gcc -m32 -D__int128=int64_t -g -O1", 30, USER_IS_NULL),
    "clang-O0": ("clang -g -O0", 45, USER_IS_NULL),
    "clang-O2-dwarf4": ("clang -gdwarf-4 -O2", 30, USER_IS_NULL),
    "clang-split": ("clang -gdwarf-5 -gsplit-dwarf -O1", 25, USER_IS_NULL),
}
CPLUSPLUS = {
    "g++-O0": ("g++ -g -O0", 25, NEXT_IS_NULL),
    "g++-O2": ("g++ -g -O2", 18, NEXT_IS_NULL),
    "clang++-O2": ("clang++ -std=c++17 -g -O2", 18, NEXT_IS_NULL),
}
# A register that calls may change holds, by chance, what it held before the call: gdb believes it
BY_CHANCE = {
    "g++-O2": {"result"},
    "clang++-O2": {"odd", "argc"},
}


@pytest.mark.parametrize("name", C)
def test_c(name: str, tmp_path: Path) -> None:
    command, least, cause = C[name]
    report, found = _compared(command, HERE / "values.c", tmp_path)
    _check(found, least, set())
    assert cause_details(report)[0] == cause


@pytest.mark.parametrize("name", CPLUSPLUS)
def test_cplusplus(name: str, tmp_path: Path) -> None:
    command, least, cause = CPLUSPLUS[name]
    report, found = _compared(command, HERE / "values.cc", tmp_path)
    _check(found, least, BY_CHANCE.get(name, set()))
    assert cause_details(report)[0] == cause


def cause_details(report: Report) -> list[str]:
    assert report.cause is not None
    return report.cause.details


def _compared(command: str, source: Path, place: Path) -> tuple[Report, Comparison]:
    exe = place / "values"
    build(command, source, exe)
    core = gcore_at_fault([bytes(exe)], place / "core")
    report = report_of(core)
    assert not [note for note in report.notes if note.stage == "variables"]
    return report, compare(report, gdb_variables(core, exe))


def _check(found: Comparison, least: int, by_chance: set[str]) -> None:
    wrong = [
        line
        for line in found.lines
        if line.verdict in (WORSE, DIFFERENT, MISSING) and line.name not in by_chance
    ]
    assert not wrong
    assert found.counts[EQUAL] >= least


def test_floating_point_registers(tmp_path: Path) -> None:
    """Of the innermost frame they are known; what its caller had in them is not."""
    report, found = _compared("clang -g -O2", HERE / "floats.c", tmp_path)
    assert not [line for line in found.lines if line.where.startswith("#0")]
    shown = {one.name: one.value for one in report.threads[0].frames[0].variables}
    assert shown == {
        "where": "0x8 <not mapped>",
        "factor": "<optimized out>",  # (its register has `twice` by now)
        "part": "0.1",
        "whole": "2.5",
        "pair": "{a = 1, b = 2}",
        "twice": "4.5",
        "found": "<optimized out>",
    }


def test_common_parts(tmp_path: Path) -> None:
    """Types that dwz moved to another file, whose units say no language, have whole names there;
    without that file, nothing is made up for them."""
    programs = [tmp_path / name for name in ("values", "second", "third")]
    build("g++ -g -O0", HERE / "values.cc", programs[0])
    build("g++ -g -O2", HERE / "values.cc", programs[1])  # (most, but not all is as in the first)
    shutil.copy(programs[1], programs[2])
    common = tmp_path / "common.debug"
    command = [need("dwz", "dwz"), "-m", str(common), "-M", str(common), *map(str, programs)]
    subprocess.run(command, check=True)
    core = gcore_at_fault([bytes(programs[0])], tmp_path / "core")
    found = compare(report_of(core), gdb_variables(core, programs[0]))
    _check(found, 25, set())
    common.unlink()
    report = report_of(core)
    assert report.complete
    shown = [one for frame in report.threads[0].frames[:3] for one in frame.variables]
    assert shown
    assert not [one for one in shown if "anonymous" in one.type + one.value]


def test_package_of_split_units(tmp_path: Path) -> None:
    """Location lists of a unit in a `.dwp` begin where its index says."""
    other = tmp_path / "other.c"
    other.write_text(
        "int other(int n, int *p) { int sum = n * 2; for (int i = 0; i < n; i++) sum += p[i];\n"
        "    return sum; }\n"
    )
    flags = ["-gdwarf-4", "-gsplit-dwarf", "-O2", "-w"]
    for source in (other, HERE / "values.c"):
        command = [need("gcc", "gcc"), *flags, "-c", str(source)]
        subprocess.run(command, check=True, cwd=tmp_path)
    exe = tmp_path / "values"
    subprocess.run([need("gcc", "gcc"), "-o", exe, "other.o", "values.o"], check=True, cwd=tmp_path)
    package = [need("dwp", "binutils"), "-e", "values", "-o", "values.dwp"]
    subprocess.run(package, check=True, cwd=tmp_path)
    for unit in tmp_path.glob("*.dwo"):
        unit.unlink()
    core = gcore_at_fault([bytes(exe)], tmp_path / "core")
    found = compare(report_of(core), gdb_variables(core, exe))
    _check(found, 35, set())
