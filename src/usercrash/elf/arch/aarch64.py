"""AArch64 in both byte orders: AAPCS64 (register use), DWARF for the Arm 64-bit Architecture,
struct user_pt_regs (<asm/ptrace.h>).

Return addresses may be signed: the signature stands in the bits between those of an address in
user space and bit 55, which tells user space from the kernel (Documentation/arm64/
pointer-authentication.rst). Where the core names these bits (NT_ARM_PAC_MASK) they are taken
from there.
"""

from . import Arch

_GENERAL = tuple(f"x{number}" for number in range(31))
_SIGNATURE = 0x7F << 48  # where addresses have 48 bits, as they do unless a program asks for 52


def _arch(name: str, order: str) -> Arch:
    return Arch(
        name=name,
        machine=183,
        elf_class=2,
        order=order,
        prstatus_registers=(*_GENERAL, "sp", "pc", "pstate"),
        pc="pc",
        sp="sp",
        fp="x29",
        link="x30",
        dwarf_registers={**dict(enumerate(_GENERAL)), 31: "sp", 32: "pc"},
        return_column=30,
        callee_saved=tuple(f"x{number}" for number in range(19, 30)),
        pointer_registers=(*_GENERAL, "sp", "pc"),
        code_mask=~_SIGNATURE,
    )


ARCHES = (_arch("aarch64", "<"), _arch("aarch64_be", ">"))
