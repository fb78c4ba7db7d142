"""x86-64: System V psABI (DWARF numbers, red zone), <sys/procfs.h>, <sys/user.h>.

x32 (chapter "ILP32 Programming Model") is the same processor with addresses of 32 bits: all its
registers have 64 bits in notes and on the stack, the kernel's other fields are those of i386.
"""

from . import Arch

_GREGSET = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
    "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base",
    "ds", "es", "fs", "gs",
)  # fmt: skip

_DWARF = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
          "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip")  # fmt: skip

_POINTERS = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip",
)  # fmt: skip


def _arch(name: str, elf_class: int) -> Arch:
    return Arch(
        name=name,
        machine=62,
        elf_class=elf_class,
        word=8,
        prstatus_registers=_GREGSET,
        pc="rip",
        sp="rsp",
        fp="rbp",
        dwarf_registers=dict(enumerate(_DWARF)),
        return_column=16,
        callee_saved=("rbx", "rbp", "r12", "r13", "r14", "r15"),
        red_zone=128,
        pointer_registers=_POINTERS,
        call=("orig_rax", "rdi", "rsi", "rdx", "r10", "r8", "r9"),
        futex=(202,) if elf_class == 2 else (202 | 1 << 30,),
        restart=219 if elf_class == 2 else 219 | 1 << 30,
    )


ARCH, X32 = _arch("x86_64", 2), _arch("x32", 1)
ARCHES = (ARCH, X32)
