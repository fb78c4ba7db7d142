"""Causes of faults on machines whose instructions are understood beside x86's: what was read or
written, through which register, and which instructions are there to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cross import compile_for, crash
from tests.support.cross_targets import TARGETS
from tests.support.variables_compare import report_of
from usercrash.report import Cause

SOURCE = """
#include <signal.h>
#include <string.h>
struct book { struct book *next; char *title; long pages[6]; };
static void *volatile hidden;
static volatile long sink;
__attribute__((noinline)) static void null_write(struct book *book) { book->pages[2] = 7; }
__attribute__((noinline)) static int element(int *numbers, long at) { return numbers[at]; }
__attribute__((noinline)) static long wild(long *at) { return at[3]; }
__attribute__((noinline)) static void trap(void) { __builtin_trap(); }
int main(int count, char **words)
{
    if (count < 2) return 4;
    if (!strcmp(words[1], "null_write")) null_write(hidden);
    if (!strcmp(words[1], "null_array")) sink = element(hidden, 25000);
    if (!strcmp(words[1], "failed")) sink = wild((long *)-1L + (long)hidden);
    if (!strcmp(words[1], "wild")) sink = wild((long *)(0x12345600 + (long)hidden));
    if (!strcmp(words[1], "trap")) trap();
    return 4;
}
"""
MACHINES = ["aarch64", "arm", "riscv64"]


def why(name: str, place: Path, word: str, fault: int = 0, level: str = "-O1") -> Cause:
    target = TARGETS[name]
    program = compile_for(target, SOURCE, level, "-w", "-fno-optimize-sibling-calls")
    found = report_of(crash(target, program, place, word, fault=fault).core, program).cause
    assert found is not None
    return found


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("name", MACHINES)
def test_null_write(name: str, level: str, tmp_path: Path) -> None:
    word = TARGETS[name].arch.long
    found = why(name, tmp_path, "null_write", 4 * word, level)
    assert (found.kind, found.certainty) == ("null-pointer", "certain")
    assert found.summary.startswith(
        f"null pointer plus {4 * word:#x}: write of {word} bytes at {4 * word:#x} ("
    )
    assert found.summary.endswith(" is 0)")
    assert {"signal", "instruction"} <= {one.what for one in found.evidence}


@pytest.mark.parametrize("name", MACHINES)
def test_null_array(name: str, tmp_path: Path) -> None:
    found = why(name, tmp_path, "null_array", 100_000)
    if name == "riscv64":  # the address is computed before
        assert (found.kind, found.reason) == ("bad-address", "not-mapped")
        assert found.summary == "read of 4 bytes at 0x186a0, not mapped"
    else:
        assert (found.kind, found.certainty) == ("null-pointer", "likely")
        assert found.details[0] == "It is an array's element: index 25,000, of 4 bytes each."


@pytest.mark.parametrize("name", MACHINES)
def test_error_value(name: str, tmp_path: Path) -> None:
    word = TARGETS[name].arch.long
    # (long *)-1 and three further
    found = why(name, tmp_path, "failed", 3 * word - 1)
    assert (found.kind, found.reason) == ("bad-address", "error-value")
    assert f"read of {word} bytes at {3 * word - 1:#x}: the pointer is −1" in found.summary


@pytest.mark.parametrize("name", MACHINES)
def test_wild_read(name: str, tmp_path: Path) -> None:
    word = TARGETS[name].arch.long
    at = 0x12345600 + 3 * word
    found = why(name, tmp_path, "wild", at)
    assert (found.kind, found.reason) == ("bad-address", "not-mapped")
    assert found.summary == f"read of {word} bytes at {at:#x}, not mapped"
    assert any(line.endswith("is 0x12345600.") for line in found.details)


@pytest.mark.parametrize("name", MACHINES)
def test_trap(name: str, tmp_path: Path) -> None:
    found = why(name, tmp_path, "trap")
    text, reason = {
        "aarch64": ("brk #0x3e8: a trap placed on purpose", "trap"),
        "arm": ("udf #", "trap"),
        "riscv64": ("ebreak: a trap placed on purpose, or", "trap-instruction"),
    }[name]
    assert found.summary.startswith(text)
    assert found.reason == reason
    assert ", in trap at " in found.summary
