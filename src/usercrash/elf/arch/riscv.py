"""RISC-V, 64 and 32 bits: RISC-V ELF psABI (register use, DWARF numbers), struct
user_regs_struct (<asm/ptrace.h>). Bit 0 of the target of an indirect jump does not count."""

from . import Arch

_GENERAL = (
    "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5",
    "t6",
)  # fmt: skip


def _arch(name: str, elf_class: int) -> Arch:
    return Arch(
        name=name,
        machine=243,
        elf_class=elf_class,
        prstatus_registers=("pc", *_GENERAL),
        pc="pc",
        sp="sp",
        fp="s0",
        link="ra",
        dwarf_registers=dict(enumerate(_GENERAL, 1)),
        return_column=1,
        callee_saved=tuple(f"s{number}" for number in range(12)),
        pointer_registers=(*_GENERAL, "pc"),
        code_mask=-2,
    )


ARCHES = (_arch("riscv64", 2), _arch("riscv32", 1))
