"""Power, 64 bits (both byte orders) and 32 bits: arch/powerpc/include/uapi/asm/ptrace.h,
<asm/elf.h>; DWARF numbers of the ELF v2 ABI (section 2.4), which GCC's `.eh_frame` of 32 bits
uses as well."""

from __future__ import annotations

from . import Arch

_GENERAL = tuple(f"r{number}" for number in range(32))

_GREGSET = (
    *_GENERAL, "nip", "msr", "orig_r3", "ctr", "lr", "xer", "cr", "softe", "trap", "dar",
    "dsisr", "result", "", "", "", "",
)  # fmt: skip


def _arch(name: str, machine: int, order: str) -> Arch:
    return Arch(
        name=name,
        machine=machine,
        elf_class=2 if machine == 21 else 1,
        order=order,
        prstatus_registers=_GREGSET,
        pc="nip",
        sp="r1",
        fp="r31",
        link="lr",
        dwarf_registers={**dict(enumerate(_GENERAL)), 65: "lr", 66: "ctr"},
        return_column=65,
        callee_saved=tuple(f"r{number}" for number in (2, *range(14, 32))),
        red_zone=288 if machine == 21 else 0,
        pointer_registers=(*_GENERAL, "nip", "lr", "ctr"),
        code_mask=-4,
    )


ARCHES = (_arch("ppc64le", 21, "<"), _arch("ppc64", 21, ">"), _arch("ppc", 20, ">"))
