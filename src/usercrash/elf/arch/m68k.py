"""m68k: arch/m68k/include/asm/elf.h (ELF_CORE_COPY_REGS), DWARF numbers as GCC's
config/m68k/m68k.h has them. Longs are aligned to 2 bytes."""

from __future__ import annotations

from . import Arch

_DATA = tuple(f"d{number}" for number in range(8))
_ADDRESS = (*(f"a{number}" for number in range(6)), "fp", "sp")

ARCH = Arch(
    name="m68k",
    machine=4,
    elf_class=1,
    order=">",
    prstatus=(12, 22, 70),
    prstatus_registers=(
        *_DATA[1:], *_ADDRESS[:7], "d0", "sp", "orig_d0", "sr", "pc", "format",
    ),
    pc="pc",
    sp="sp",
    fp="fp",
    dwarf_registers={**dict(enumerate((*_DATA, *_ADDRESS))), 24: "pc"},
    return_column=24,
    callee_saved=(*_DATA[2:], *_ADDRESS[2:]),
    pointer_registers=(*_DATA, *_ADDRESS, "pc"),
    code_mask=-2,
)  # fmt: skip

ARCHES = (ARCH,)
