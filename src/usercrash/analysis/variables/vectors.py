"""Registers of floating point and vectors in NT_FPREGSET, by DWARF number.

Sources: <asm/user.h> (fxsave), the psABI of x86-64 and i386; struct user_fpsimd_state and "DWARF
for the Arm 64-bit Architecture"; struct __riscv_d_ext_state and RISC-V's psABI.
"""

from __future__ import annotations

from typing import NamedTuple

from ...elf.arch import Arch


class _Bank(NamedTuple):
    """`many` registers from DWARF number `first` on, from byte `start` on, `size` bytes of every
    `stride`."""

    first: int
    many: int
    start: int
    stride: int
    size: int


_FXSAVE = (_Bank(17, 16, 160, 16, 16), _Bank(33, 8, 32, 16, 16))
_BANKS = {
    "x86_64": _FXSAVE,
    "x32": _FXSAVE,
    "i386": (_Bank(11, 8, 28, 10, 10),),  # x87's, as fsave has them
    "aarch64": (_Bank(64, 32, 0, 16, 16),),
    "riscv64": (_Bank(32, 32, 0, 8, 8),),
}


def vector(arch: Arch, floats: bytes, number: int) -> bytes | None:
    """The bytes of a register of that DWARF number, None where it is none of these."""
    for bank in _BANKS.get(arch.name, ()):
        if bank.first <= number < bank.first + bank.many:
            at = bank.start + (number - bank.first) * bank.stride
            data = floats[at : at + bank.size]
            return data if len(data) == bank.size else None
    return None
