"""The registers of a live process's threads, in the layout of its own architecture.

The kernel gives a tracer the very sets that it would write into a core of the tracee, whatever
the tracer itself is: a 32-bit process on a 64-bit kernel has those of 32 bits.
"""

from __future__ import annotations

import errno
import os
import signal
from _struct import Struct

from ..elf.arch import PROGRAMS, arch_of
from ..elf.headers import NT_386_TLS, NT_FPREGSET, NT_PRSTATUS, NT_X86_XSTATE
from ..model.snapshot import ElfNote
from ..model.types import TYPE_CHECKING
from . import ptrace
from .live_notes import CORE, LINUX, auxv_long

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..elf.arch import Arch

# By architecture: what else a thread's registers are in the kernel's core. The
# numbers: NT_PRXFPREG; NT_ARM_TLS, NT_ARM_PAC_MASK (<elf.h>).
_MORE_SETS = {
    "x86_64": (NT_X86_XSTATE,),
    "x32": (NT_X86_XSTATE,),
    "i386": (0x46E62B7F, NT_X86_XSTATE, NT_386_TLS),
    "aarch64": (0x401, 0x406),
}
# By architecture: the register of a system call's number, its AUDIT_ARCH_* (<linux/audit.h>).
_CALLS = {
    "x86_64": ("orig_rax", 0xC000003E),
    "x32": ("orig_rax", 0xC000003E),
    "i386": ("orig_eax", 0x40000003),
    "aarch64": ("x8", 0xC00000B7),
    "arm": ("r7", 0x40000028),
}
# si_signo, si_errno, si_code, call address, number, architecture; by the size of an address
_SIGSYS = {8: Struct("<iii4xQII"), 4: Struct("<iiiIII")}
_SYS_SECCOMP = 1  # <asm-generic/siginfo.h>


def arches_of(auxv: bytes) -> list[Arch]:
    """What a process with this auxiliary vector may be, here: its registers tell which.
    Empty where we do not know this machine's programs."""
    elf_class = auxv_long(auxv) // 4
    known = PROGRAMS.get(os.uname().machine, ())
    found = (arch_of(machine, size) for machine, size in known if size == elf_class)
    return [arch for arch in found if arch is not None]


def set_size(arch: Arch) -> int:
    """Bytes of the general registers."""
    return arch.word * len(arch.prstatus_registers)


def general(tid: int) -> bytes:
    """A stopped thread's general registers, of whatever size; PtraceError as it comes."""
    return ptrace.register_set(tid, NT_PRSTATUS)


def others(tid: int, arch: Arch) -> Iterator[ElfNote]:
    """The notes of a stopped thread's other registers in the kernel's order; PtraceError as it
    comes, but for sets that this processor does not have."""
    for kind in (NT_FPREGSET, *_MORE_SETS.get(arch.name, ())):
        try:
            data = ptrace.register_set(tid, kind)
        except ptrace.PtraceError as error:
            # ENODEV: a processor without XSAVE, say; NT_FPREGSET says all there is.
            if error.errno not in (errno.ENODEV, errno.EINVAL):
                raise
            continue
        if data:
            yield ElfNote(CORE if kind == NT_FPREGSET else LINUX, kind, data)


def waiting(text: bytes, arch: Arch) -> bytes | None:
    """The set of a thread that waits in the kernel, by /proc/PID/task/TID/syscall: stack pointer
    and pc, the rest zero. None if that does not say."""
    words = text.split()
    if len(words) < 3:
        return None  # "running"
    registers = bytearray(set_size(arch))
    for name, value in ((arch.sp, words[-2]), (arch.pc, words[-1])):
        at = arch.prstatus_registers.index(name) * arch.word
        registers[at : at + arch.word] = (int(value, 16) & arch.mask).to_bytes(arch.word, "little")
    return bytes(registers)


def named(arch: Arch, data: bytes) -> dict[str, int]:
    """The values of a set by the registers' names."""
    word = arch.word
    return {
        name: int.from_bytes(data[at * word : (at + 1) * word], "little")
        for at, name in enumerate(arch.prstatus_registers)
    }


def seccomp_siginfo(arch: Arch, data: bytes) -> bytes:
    """The siginfo_t of a kill by seccomp, the only death by SIGSYS that no tracer is offered as a
    signal (force_sig_seccomp() in kernel/signal.c): what it says follows from the registers."""
    registers = named(arch, data)
    register, audit = _CALLS.get(arch.name, ("", 0))
    call = registers.get(register, 0) & 0xFFFFFFFF
    fields = _SIGSYS[arch.long].pack(
        signal.SIGSYS, 0, _SYS_SECCOMP, registers[arch.pc], call, audit
    )
    return fields.ljust(ptrace.SIGINFO_SIZE, b"\0")
