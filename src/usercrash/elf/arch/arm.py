"""32-bit ARM in both byte orders: AAPCS32 (register use), DWARF for the Arm Architecture,
struct pt_regs (<asm/ptrace.h>).

Bit 0 of a code address says that there is Thumb code. `fp` is the one of ARM code; in Thumb code
compilers use r7.
"""

from . import Arch

_GENERAL = (*(f"r{number}" for number in range(13)), "sp", "lr", "pc")


def _arch(name: str, order: str) -> Arch:
    return Arch(
        name=name,
        machine=40,
        elf_class=1,
        order=order,
        prstatus_registers=(*_GENERAL, "cpsr", "orig_r0"),
        pc="pc",
        sp="sp",
        fp="r11",
        link="lr",
        dwarf_registers=dict(enumerate(_GENERAL)),
        return_column=14,
        callee_saved=tuple(f"r{number}" for number in range(4, 12)),
        pointer_registers=_GENERAL,
        code_mask=-2,
    )


ARCHES = (_arch("arm", "<"), _arch("armeb", ">"))
