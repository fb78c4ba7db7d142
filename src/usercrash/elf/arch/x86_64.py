"""x86-64: System V psABI (DWARF numbers, red zone), <sys/procfs.h>, <sys/user.h>."""

from . import Arch

_GREGSET = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
    "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base",
    "ds", "es", "fs", "gs",
)  # fmt: skip

_DWARF = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
          "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip")  # fmt: skip

ARCH = Arch(
    name="x86_64",
    machine=62,
    elf_class=2,
    prstatus_registers=_GREGSET,
    pc="rip",
    sp="rsp",
    fp="rbp",
    dwarf_registers=dict(enumerate(_DWARF)),
    return_column=16,
    callee_saved=("rbx", "rbp", "r12", "r13", "r14", "r15"),
    red_zone=128,
    pointer_registers=(
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip",
    ),
)  # fmt: skip

ARCHES = (ARCH,)
