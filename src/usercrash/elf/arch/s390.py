"""s390x and its 31-bit predecessor: arch/s390/include/uapi/asm/ptrace.h (s390_regs,
s390_fp_regs), DWARF numbers of the "ELF Application Binary Interface s390x Supplement".

A frame's CFA is its caller's stack pointer plus the area for saved registers. Addresses of 31
bits bear the addressing mode in their highest bit."""

from __future__ import annotations

from . import Arch

_GENERAL = tuple(f"r{number}" for number in range(16))
_FLOATS = tuple(f"f{number}" for number in range(16))
# The numbers follow the pairs that make a long double, in DWARF as in no other table.
_FLOAT_NUMBERS = (0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15)
_DWARF = {
    **dict(enumerate(_GENERAL)),
    **{16 + at: _FLOATS[number] for at, number in enumerate(_FLOAT_NUMBERS)},
}


def _arch(name: str, elf_class: int) -> Arch:
    # access registers have 32 bits; the first two together are the thread pointer of 64 bits
    access = (
        ("acr0_1", *(f"acr{number}_{number + 1}" for number in range(2, 16, 2)))
        if elf_class == 2
        else tuple(f"acr{number}" for number in range(16))
    )
    return Arch(
        name=name,
        machine=22,
        elf_class=elf_class,
        order=">",
        # (a psw is aligned to 8 bytes, so the smaller elf_gregset_t and what follows it are, too)
        prstatus_registers=(
            "pswm",
            "pswa",
            *_GENERAL,
            *access,
            "orig_r2",
            *(("", "") if elf_class == 1 else ()),
        ),
        float_registers=(8, _FLOATS) if elf_class == 2 else (0, ()),
        pc="pswa",
        sp="r15",
        fp="r11",
        link="r14",
        dwarf_registers=_DWARF,
        return_column=14,
        callee_saved=tuple(f"r{number}" for number in range(6, 16)),
        pointer_registers=(*_GENERAL, "pswa"),
        code_mask=-1 if elf_class == 2 else 0x7FFFFFFF,
        cfa_is_sp=False,
    )


ARCHES = (_arch("s390x", 2), _arch("s390", 1))
