"""Names of the procedure linkage table's stubs: those that binutils give them, at every
instruction, with section headers and without."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.oracle import gdb_frames
from tests.support.spawn import compile_c
from tests.support.stub_names import stub_names, without_sections

from usercrash.analysis.assemble import assemble
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.facts.texts import Texts
from usercrash.analysis.report_parts.stacks import StackNamer
from usercrash.analysis.symbols.linkage_stubs import LinkageStubs

SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int c, char **v) {
    int x = (int)strtol(v[c], 0, 10) + puts(v[c]) + rand() + (int)strlen(v[c]);
    return x + (int)(long)&puts;
}
"""
NAMES = {b"strtol", b"puts", b"rand", b"strlen"}
PIE, NO_PIE = ("-fpie", "-pie"), ("-fno-pie", "-no-pie")
IBT = ("-fcf-protection=full", "-Wl,-z,ibtplt")
LLD = ("-fuse-ld=lld",)


def _built(place: Path, compiler: str, *flags: str) -> Path:
    source, program = place / "names.c", place / "names"
    source.write_text(SOURCE)
    subprocess.run(
        [need(compiler, compiler), "-O1", "-fno-builtin", "-o", program, source, *flags],
        check=True, capture_output=True,
    )  # fmt: skip
    return program


@pytest.mark.parametrize("place", [PIE, NO_PIE], ids=["pie", "no-pie"])
@pytest.mark.parametrize("bits", ["-m64", "-m32"])
@pytest.mark.parametrize(
    ("compiler", "flags"),
    [("gcc", ("-Wl,-z,lazy",)), ("gcc", ("-Wl,-z,now",)), ("gcc", IBT), ("clang", LLD)],
    ids=["lazy", "now", "ibt", "lld"],
)
def test_as_binutils_name_them(
    compiler: str, flags: tuple[str, ...], bits: str, place: tuple[str, ...], tmp_path: Path
) -> None:
    program = _built(tmp_path, compiler, bits, *place, *flags)
    data = program.read_bytes()
    for elf in (ElfFile(data), ElfFile(without_sections(data))):
        stubs = LinkageStubs(elf)
        seen = set()
        for address, wanted in stub_names(program, "objdump").items():
            found = stubs.at(address)
            name = found.name if found is not None else None
            if wanted is None and flags == IBT:  # what is bound late has stubs of its own there
                assert name is None or name in NAMES | {b"__libc_start_main"}
            else:
                assert name == wanted, hex(address)
            seen.add(name)
        assert seen >= NAMES


def test_functions_of_the_file_itself_have_no_name(tmp_path: Path) -> None:
    """The stubs of static programs are for functions that choose their code at run time."""
    program = _built(tmp_path, "gcc", "-static")
    elf = ElfFile(program.read_bytes())
    section = elf.section(b".plt")
    assert section is not None
    stubs = LinkageStubs(elf)
    found = [stubs.at(section.address + at) for at in range(0, section.size, 16)]
    assert found and all(one is not None and one.name is None for one in found)


def test_code_between_stubs_is_none_of_them(tmp_path: Path) -> None:
    program = _built(tmp_path, "gcc", *PIE)
    elf = ElfFile(program.read_bytes())
    stubs = LinkageStubs(elf)
    known = stub_names(program, "objdump")
    for name in (b".plt", b".plt.got", b".text"):
        section = elf.section(name)
        assert section is not None
        for address in range(section.address, section.address + section.size):
            assert stubs.at(address) is None or known.get(address), hex(address)


# The next call faults at the jump of its stub, whose word cannot be read any more.
UNREADABLE = r"""
#include <stdlib.h>
#include <sys/mman.h>
extern char _DYNAMIC[];
__attribute__((noinline)) int outer(void) { int x = rand(); __asm__(""); return x + 1; }
int main(void) {
    mprotect((void *)((long)_DYNAMIC & -4096L), 8192, PROT_NONE);
    int x = outer(); __asm__(""); return x;
}
"""


@pytest.mark.parametrize("stripped", [False, True])
def test_in_a_report(stripped: bool, tmp_path: Path) -> None:
    flags = ("-O2", "-fno-pie", "-no-pie", "-Wl,-z,norelro,-z,lazy", *(("-s",) * stripped))
    program = compile_c(tmp_path, "program", UNREADABLE, *flags)
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    ours = analyse(core)
    frames = assemble(ours.image, ours.modules, ours.symbolizer, "0" * 32).threads[0].frames
    theirs = gdb_frames(core, program)[ours.image.threads[0].tid]
    assert theirs[0].name == frames[0].function == frames[0].linkage_name == "rand@plt"
    assert frames[0].offset == 0 and not any(frame.by_tail_call for frame in frames)
    assert [int(frame.pc, 16) for frame in frames][:2] == [frame.pc for frame in theirs][:2]
    namer = StackNamer(ours.modules, ours.symbolizer, Texts(ours.image.notes), 1 << 20)
    assert namer.code_name(theirs[0].pc) == "rand@plt (program)"  # as a word on the stack
    if not stripped:
        assert [frame.function for frame in frames[1:3]] == ["outer", "main"]
