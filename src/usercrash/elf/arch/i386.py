"""i386: System V psABI supplement (DWARF numbers as on Linux: 4 is esp, 5 is ebp), <sys/user.h>
(struct user_regs_struct of 32 bits), <linux/elfcore.h>."""

from . import Arch

_GREGSET = (
    "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax", "eip",
    "cs", "eflags", "esp", "ss",
)  # fmt: skip

_DWARF = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip")


def _arch(elf_class: int, prstatus: tuple[int, int, int] | None, program_machine: int = 0) -> Arch:
    return Arch(
        name="i386",
        machine=3,
        elf_class=elf_class,
        word=4,
        prstatus=prstatus,
        program_machine=program_machine,
        prstatus_registers=_GREGSET,
        pc="eip",
        sp="esp",
        fp="ebp",
        dwarf_registers=dict(enumerate(_DWARF)),
        return_column=8,
        callee_saved=("ebx", "ebp", "esi", "edi"),
        pointer_registers=("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip"),
        call=("orig_eax", "ebx", "ecx", "edx", "esi", "edi", "ebp"),
        futex=(240, 422),
        restart=0,
    )


ARCH = _arch(1, None)
# A 64-bit process that dies in 32-bit code (Wine runs such programs so): the kernel's core has
# 64-bit headers and notes, but for the registers. Its files are x86-64's.
IN_64_BITS = _arch(2, (12, 32, 112), program_machine=62)
ARCHES = (ARCH, IN_64_BITS)
