"""Code of other machines as text, at the pc and before it."""

from __future__ import annotations

import pytest

from usercrash.analysis.instructions.disassembly import decode, listing
from usercrash.elf.arch import arch_of

AT = 0x10000


@pytest.mark.parametrize(
    ("machine", "elf_class", "order", "flags", "code", "size", "words"),
    [
        (62, 2, "<", 0, "55" "4889e5" "c3", 4, ["push rbp", "mov rbp, rsp", "ret"]),
        (3, 1, "<", 0, "55" "89e5" "c3", 3, ["push ebp", "mov ebp, esp", "ret"]),
        (183, 2, "<", 0, "1f2003d5" "c0035fd6", 4, ["nop", "ret"]),
        (243, 2, "<", 0, "4111" "8280", 2, ["c.addi sp, -0x10", "c.jr ra"]),
        (21, 2, "<", 2, "a602087c" "2000804e", 4, ["mflr r0", "blr"]),
        (21, 2, ">", 2, "7c0802a6" "4e800020", 4, ["mflr r0", "blr"]),
        (20, 1, ">", 0, "7c0802a6" "4e800020", 4, ["mflr r0", "blr"]),
        (22, 2, ">", 0, "07fe", 0, ["br %r14"]),
        (8, 1, ">", 0x1000, "00000000" "03e00008", 4, ["nop", "jr $ra"]),
        (8, 1, "<", 0x1000, "00000000" "0800e003", 4, ["nop", "jr $ra"]),
        (43, 2, ">", 0, "01000000" "81c3e008", 4, ["nop", "retl"]),
    ],
)  # fmt: skip
def test_a_listing(
    machine: int, elf_class: int, order: str, flags: int, code: str, size: int, words: list[str]
) -> None:
    """`size` bytes stand before the pc."""
    arch = arch_of(machine, elf_class, order, flags)
    assert arch is not None
    data = bytes.fromhex(code)
    lines = listing(arch, data, AT, AT + size, AT, 8, 8)
    assert [line.text for line in lines] == words
    assert b"".join(line.data for line in lines) == data
    known = decode(arch, data[size:], {arch.pc: AT + size, arch.sp: AT}) is not None
    assert known == (machine in (3, 40, 62, 183, 243))
