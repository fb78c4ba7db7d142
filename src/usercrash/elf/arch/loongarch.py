"""LoongArch, 64 bits: arch/loongarch/include/uapi/asm/ptrace.h (user_pt_regs), the names and
DWARF numbers of the "LoongArch ELF psABI"."""

from __future__ import annotations

from . import Arch

_GENERAL = (
    "zero", "ra", "tp", "sp", *(f"a{number}" for number in range(8)),
    *(f"t{number}" for number in range(9)), "r21", "fp", *(f"s{number}" for number in range(9)),
)  # fmt: skip
assert len(_GENERAL) == 32

ARCH = Arch(
    name="loongarch64",
    machine=258,
    elf_class=2,
    prstatus_registers=(*_GENERAL, "orig_a0", "pc", "badv", *10 * ("",)),
    pc="pc",
    sp="sp",
    fp="fp",
    link="ra",
    dwarf_registers=dict(enumerate(_GENERAL)),
    return_column=1,
    callee_saved=("fp", *(f"s{number}" for number in range(9))),
    pointer_registers=(*_GENERAL[1:], "pc"),
    code_mask=-4,
)

ARCHES = (ARCH,)
