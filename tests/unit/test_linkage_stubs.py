"""Stubs of the procedure linkage table that no call frame information describes, as lld writes
them, and static programs have them: by their code they give what linkers say that do describe
them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.build import need

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.dwarf.call_frames import CallFrames
from usercrash.analysis.dwarf.expression import evaluate
from usercrash.analysis.instructions.machine_code import code_facts
from usercrash.elf.arch import arch_of

SOURCE = "#include <stdio.h>\nint main(int c, char **v) { return puts(v[c]) + putchar(c); }\n"
TOP = 0x1000


def _built(place: Path, *flags: str) -> ElfFile:
    source, program = place / "plt.c", place / "plt"
    source.write_text(SOURCE)
    command = [need("gcc", "gcc"), "-O1", "-Wl,-z,lazy", "-o", str(program), str(source), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ElfFile(program.read_bytes())


@pytest.mark.parametrize("place", [("-pie",), ("-no-pie",)], ids=" ".join)
@pytest.mark.parametrize("flags", [
    (), ("-fcf-protection=full", "-Wl,-z,ibtplt"), ("-m32",),
], ids=["64", "64-ibt", "32"])  # fmt: skip
def test_as_the_linker_describes_them(
    flags: tuple[str, ...], place: tuple[str, ...], tmp_path: Path
) -> None:
    elf = _built(tmp_path, *flags, *place)
    arch = arch_of(elf.header.machine, elf.header.elf_class)
    assert arch is not None
    facts = code_facts(arch)
    assert facts is not None
    frames = CallFrames(elf, None, 0, lambda address, size: b"")
    registers: list[int | None] = [None] * arch.slots
    registers[arch.numbers[arch.sp]] = TOP
    checked = 0
    for name, begins in ((b".plt", (0, 6, 11)), (b".plt.sec", (0,)), (b".plt.got", (0,))):
        # (where the instructions of an entry begin)
        section = elf.section(name)
        if section is None:
            continue
        if flags[1:] and name == b".plt":
            begins = (0, 4, 9)  # endbr64; push; jmp
        for entry in range(0, section.size, 16):
            head = name == b".plt" and entry == 0
            for at in (0, 6) if head else begins:
                pc = section.address + entry + at
                row = frames.row(pc)
                assert row is not None, hex(pc)
                registers[arch.pc_slot] = pc
                cfa = (registers[row.cfa_register] or 0) + row.cfa_offset
                if row.cfa_expression is not None:
                    cfa = evaluate(
                        row.cfa_expression, registers, lambda address, size: b"", word=arch.long
                    )
                wanted = (cfa - arch.word - TOP, cfa - TOP)
                assert facts.linkage(elf.read_at, pc) == wanted, (name, entry, at)
                checked += 1
    assert checked >= 8


@pytest.mark.parametrize("machine", [3, 62])
@pytest.mark.parametrize(
    "code",
    [
        b"\xff\xe0",  # jmp *%rax: a table of a switch
        b"\xff\x24\xc5\0\0\0\0",  # jmp *table(,%rax,8)
        b"\x68\x01\0\0\0\xe9\0\0\0\0\x90",  # push of an argument, and a jump to some code
        b"\x90\xc3",
        b"",
        b"\xff",
    ],
)
def test_other_code_is_no_stub(machine: int, code: bytes) -> None:
    arch = arch_of(machine, machine // 62 + 1)
    assert arch is not None
    facts = code_facts(arch)
    assert facts is not None

    def read(address: int, size: int) -> bytes:
        at = address - 0x100
        return code[at : at + size] if at >= 0 else b""

    assert facts.linkage(read, 0x100) is None
