"""What instructions of AArch64, ARM and RISC-V read and write: words of the manuals' encodings."""

from __future__ import annotations

import pytest

from usercrash.analysis.instructions.disassembly import decode
from usercrash.elf.arch import Arch, arch_of

A64, A32, RISC_V = (arch_of(183, 2, "<"), arch_of(40, 1, "<"), arch_of(243, 2, "<"))
BASE = 0x1234560000

# The instruction, as it stands in the manual (big endian), what it did, where, through what
OF_A64 = [
    ("f9400c20", "read", 0x18, 8, "x1, #0x18"),  # ldr x0, [x1, #0x18]
    ("39400020", "read", 0, 1, "x1"),  # ldrb w0, [x1]
    ("785fc020", "read", -4, 2, "x1, #-4"),  # ldurh w0, [x1, #-4]
    ("b9800020", "read", 0, 4, "x1"),  # ldrsw x0, [x1]
    ("b9000c20", "write", 12, 4, "x1, #0xc"),  # str w0, [x1, #12]
    ("f8008420", "write", 0, 8, "x1"),  # str x0, [x1], #8: behind the access
    ("f8408c20", "read", 8, 8, "x1, #8"),  # ldr x0, [x1, #8]!
    ("3dc00020", "read", 0, 16, "x1"),  # ldr q0, [x1]
    ("ad000420", "write", 0, 32, "x1"),  # stp q0, q1, [x1]
    ("a9410420", "read", 16, 16, "x1, #0x10"),  # ldp x0, x1, [x1, #16]
    ("b8627820", "read", 12, 4, "x1, x2, lsl #2"),  # ldr w0, [x1, x2, lsl #2]
    ("b862d820", "read", 12, 4, "x1, w2, sxtw #2"),  # ldr w0, [x1, w2, sxtw #2]
    ("c85ffc20", "read", 0, 8, "x1"),  # ldaxr x0, [x1]
    ("c8007c21", "write", 0, 8, "x1"),  # stxr w0, x1, [x1]
    ("f8200021", "read and write", 0, 8, "x1"),  # ldadd x0, x1, [x1]
    ("d50b7421", "write", 0, 64, "x1"),  # dc zva, x1
]
OF_A32 = [
    ("e5910008", "read", 8, 4, "r1, #8"),  # ldr r0, [r1, #8]
    ("e4910004", "read", 0, 4, "r1"),  # ldr r0, [r1], #4
    ("e5c10000", "write", 0, 1, "r1"),  # strb r0, [r1]
    ("e7910102", "read", 12, 4, "r1, r2, lsl #2"),  # ldr r0, [r1, r2, lsl #2]
    ("e7110002", "read", -3, 4, "r1, -r2"),  # ldr r0, [r1, -r2]
    ("e1c120d8", "read", 8, 8, "r1, #8"),  # ldrd r2, r3, [r1, #8]
    ("e8a10009", "write", 0, 8, "r1"),  # stm r1!, {r0, r3}
    ("e9210009", "write", -8, 8, "r1"),  # stmdb r1!, {r0, r3}
    ("ed910b02", "read", 8, 8, "r1, #8"),  # vldr d0, [r1, #8]
]
OF_RISC_V = [
    ("0105b503", "read", 16, 8, "a1 + 0x10"),  # ld a0, 16(a1)
    ("ffc5c503", "read", -4, 1, "a1 - 0x4"),  # lbu a0, -4(a1)
    ("00a5a023", "write", 0, 4, "a1"),  # sw a0, 0(a1)
    ("4188", "read", 0, 4, "a1"),  # c.lw a0, 0(a1)
    ("00a5b52f", "read and write", 0, 8, "a1"),  # amoadd.d a0, a0, (a1)
]
ALL = [
    (arch, base, *row)
    for arch, base, rows in ((A64, "x1", OF_A64), (A32, "r1", OF_A32), (RISC_V, "a1", OF_RISC_V))
    for row in rows
]


@pytest.mark.parametrize(
    ("arch", "base", "word", "kind", "distance", "size", "text"), ALL,
    ids=[f"{arch.name}-{word}" for arch, _, word, *_ in ALL if arch],
)  # fmt: skip
def test_access(
    arch: Arch, base: str, word: str, kind: str, distance: int, size: int, text: str
) -> None:
    at = BASE & arch.mask
    registers = dict.fromkeys(arch.prstatus_registers, 0) | {base: at, arch.pc: 0x1000}
    registers |= {"x2": 3, "r2": 3}
    found = decode(arch, bytes.fromhex(word)[::-1], registers)
    assert found is not None
    [access] = found.accesses
    assert (access.kind, access.address - at, access.size, access.text) == (
        kind, distance, size, text,
    )  # fmt: skip
    assert access.base == base


def test_signed_index() -> None:
    assert A64 is not None
    registers = dict.fromkeys(A64.prstatus_registers, 0) | {"x1": BASE, "x2": 0xFFFFFFFE}
    found = decode(A64, bytes.fromhex("b862d820")[::-1], registers)
    assert found is not None and found.accesses[0].address == BASE - 8


def test_thumb() -> None:
    assert A32 is not None
    registers = dict.fromkeys(A32.prstatus_registers, 0) | {"r0": 0x5000, "cpsr": 0x20}
    found = decode(A32, bytes.fromhex("8068"), registers)  # ldr r0, [r0, #8]
    assert found is not None and found.accesses[0].address == 0x5008
    registers["sp"] = 0x7000
    found = decode(A32, bytes.fromhex("2de9f041"), registers)  # push.w {r4-r8, lr}
    assert found is not None
    assert (found.accesses[0].kind, found.accesses[0].address, found.accesses[0].size) == (
        "write", 0x7000 - 24, 24,
    )  # fmt: skip


@pytest.mark.parametrize("word", ["8b020020", "d63f0020", "f9800020", "d4200000", "00000000"])
def test_what_touches_nothing(word: str) -> None:
    """add, blr, prfm, brk; and no instruction at all."""
    assert A64 is not None
    found = decode(A64, bytes.fromhex(word)[::-1], dict.fromkeys(A64.prstatus_registers, 0))
    assert found is None or found.accesses == ()
