"""Names of linkage stubs of other machines: those that their binutils give them, at every
instruction, with section headers and without."""

from __future__ import annotations

import pytest

from tests.support.build import need
from tests.support.cross import compile_for
from tests.support.cross_targets import TARGETS
from tests.support.stub_names import stub_names, without_sections
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.symbols.linkage_stubs import LinkageStubs

SOURCE = """
#include <stdio.h>
#include <stdlib.h>
int main(int c, char **v) { return puts(v[c]) + rand() + (int)strtol(v[c], 0, 10); }
"""
NAMES = {b"puts", b"rand", b"strtol"}
BTI = ("-mbranch-protection=standard", "-Wl,-z,force-bti")


@pytest.mark.parametrize("place", [("-fpie", "-pie"), ("-fno-pie", "-no-pie")], ids=" ".join)
@pytest.mark.parametrize(
    ("name", "flags"),
    [("aarch64", ()), ("aarch64", BTI), ("aarch64", ("-Wl,-z,pac-plt",)), ("arm", ("-marm",)),
     ("arm", ("-mthumb",)), ("riscv64", ()), ("s390x", ())],
    ids=str,
)  # fmt: skip
def test_as_binutils_name_them(name: str, flags: tuple[str, ...], place: tuple[str, ...]) -> None:
    target = TARGETS[name]
    program = compile_for(target, SOURCE, "-O1", "-fno-builtin", *flags, *place)
    data = program.read_bytes()
    known = stub_names(program, need(f"{target.triple}-objdump", f"binutils-{target.triple}"))
    assert set(known.values()) >= NAMES
    for elf in (ElfFile(data), ElfFile(without_sections(data))):
        stubs = LinkageStubs(elf)
        for address, wanted in known.items():
            found = stubs.at(address)
            assert (found.name if found is not None else None) == wanted, hex(address)


def test_of_power() -> None:
    """Its stubs lie among the functions, where the linker has symbols for them."""
    target = TARGETS["ppc64le"]
    program = compile_for(target, SOURCE, "-O1", "-fno-builtin", "-Wl,--emit-stub-syms")
    elf = ElfFile(program.read_bytes())
    stubs = LinkageStubs(elf)
    seen = set()
    for start in elf.symbols._starts:
        symbol, _ = elf.symbols.find(start) or (b"", 0)
        _, is_stub, name = symbol.partition(b".plt_call.")
        found = stubs.at(start)
        assert (found.name if found is not None else None) == (name if is_stub else None), symbol
        for at in range(4, 16, 4) if is_stub else ():
            assert stubs.at(start + at) == found
        seen.add(name)
    assert seen >= NAMES
