"""MIPS, three ABIs in both byte orders: arch/mips/include/uapi/asm/reg.h, <asm/elf.h>;
DWARF numbers as GCC's config/mips/mips.h has them.

n32 has addresses of 32 bits in registers of 64. Bit 0 of a code address is the instruction set
(MIPS16, microMIPS)."""

from __future__ import annotations

from . import Arch

_EF_MIPS_ABI2 = 0x20  # <asm/elf.h>: of the 32-bit files, those of n32

_OLD = ("zero", "at", "v0", "v1", "a0", "a1", "a2", "a3", "t0", "t1", "t2", "t3", "t4", "t5", "t6",
        "t7", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "t8", "t9", "k0", "k1", "gp", "sp",
        "s8", "ra")  # fmt: skip
_NEW = (*_OLD[:8], "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3", *_OLD[16:])
_OTHERS = ("lo", "hi", "pc", "badvaddr", "status", "cause")
_SAVED = (*(f"s{number}" for number in range(8)), "gp", "s8")


# arch/mips/include/uapi/asm/signal.h. (SIGEMT, 7, is nobody else's.)
_SIGNALS = {7: 0, 10: 7, 12: 31, 16: 10, 17: 12, 18: 17, 19: 30, 20: 28, 21: 23, 22: 29, 23: 19,
            24: 20, 25: 18, 26: 21, 27: 22, 28: 26, 29: 27, 30: 24, 31: 25}  # fmt: skip


def _arch(name: str, order: str, general: tuple[str, ...], elf_class: int, abi2: int) -> Arch:
    # o32 begins with the six words that its system calls have on the stack
    before = () if general is _NEW else 6 * ("",)
    behind = 7 * ("",) if general is _NEW else ("",)
    return Arch(
        name=name,
        machine=8,
        elf_class=elf_class,
        order=order,
        word=4 if general is _OLD else 8,
        prstatus_registers=(*before, *general, *_OTHERS, *behind),
        pc="pc",
        sp="sp",
        fp="s8",
        link="ra",
        dwarf_registers={**dict(enumerate(general)), 64: "hi", 65: "lo"},
        return_column=31,
        callee_saved=_SAVED,
        pointer_registers=(*general[1:], "pc"),
        code_mask=-2,
        signals=_SIGNALS,
        code_first=True,
        flags=(abi2, _EF_MIPS_ABI2 if elf_class == 1 else 0),
    )


ARCHES = tuple(
    arch
    for order, suffix in ((">", ""), ("<", "el"))
    for arch in (
        _arch(f"mips{suffix}", order, _OLD, 1, 0),
        _arch(f"mipsn32{suffix}", order, _NEW, 1, _EF_MIPS_ABI2),
        _arch(f"mips64{suffix}", order, _NEW, 2, 0),
    )
)
