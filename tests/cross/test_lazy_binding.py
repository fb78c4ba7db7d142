"""The way from a call into a library through the procedure linkage table and the dynamic linker,
which finds the function at the first call: the caller is there at every instruction."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cross import compile_for
from tests.support.cross_stepper import stepping
from tests.support.cross_targets import TARGETS
from usercrash.analysis.binary.elf_file import ElfFile

SOURCE = """
#include <stdlib.h>
static int *volatile place;
__attribute__((noinline)) int outer(const char *text) {
    int found = atoi(text);
    return found + *place;
}
__attribute__((noinline)) int start(void) { return outer("17") + 1; }
int main(void) { return start(); }
"""
CALLERS = ["outer", "start", "main"]
STEPS = 5_000
ONE_OF = 20  # instructions of the dynamic linker that are looked at


@pytest.mark.parametrize("name", ["aarch64", "arm", "riscv64", "s390x"])
def test_first_call(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    program = compile_for(target, SOURCE, "-O1", "-no-pie", "-Wl,-z,lazy")
    symbols = ElfFile(program.read_bytes()).symbols
    outer = next(at for at in symbols._starts if (symbols.find(at) or b" ")[0] == b"outer")
    stubs = elsewhere = 0
    with contextmanager(stepping)(target, program, tmp_path, outer) as stepped:
        for number, pc in enumerate(stepped.pcs(STEPS)):
            module = stepped.modules.find(pc)
            assert module is not None
            if b"libc" in module.path:
                break
            own = symbols.find(pc) if module.main else None
            if module.main:
                stubs += own is None
            # (the dynamic linker of ARM has no call frame information)
            elif number % ONE_OF or name == "arm":
                continue
            else:
                elsewhere += 1
            frames = stepped.stack().frames
            found = [symbols.find(frame.lookup_pc) for frame in frames[not own :]]
            names = [one[0].decode() for one in found if one is not None]
            assert names[:3] == CALLERS, [hex(frame.pc) for frame in frames]
        else:
            pytest.fail("the library was not reached")
    assert stubs > 3
    assert elsewhere > 10 or name == "arm"
