"""The fault that the instruction at the pc must raise, where the signal itself does not say:
in a core without siginfo, and after a handler that caught the fault and sent it again."""

from __future__ import annotations

from ..facts.signals import (
    FPE_INTDIV,
    ILL_ILLOPN,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SI_KERNEL,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SigInfo,
)
from ..instructions.decoded import Decoded
from ..instructions.x86_code import SYSCALL_INSTRUCTIONS
from .scene import Scene

# svc #0, ecall
_CALLS = {"aarch64": b"\x01\0\0\xd4", "arm": b"\0\0\0\xef", "riscv64": b"\x73\0\0\0"}
_UD2 = b"\x0f\x0b"


def guess_fault(scene: Scene, number: int) -> SigInfo | None:
    """The siginfo of the fault that the thread would raise with this signal where it stands;
    None if it would not, or if that cannot be told."""
    if not scene.places.mappings:
        return None
    if not scene.executable(scene.pc):
        return SigInfo(number, SI_KERNEL) if number in (SIGSEGV, SIGBUS, SIGILL) else None
    if scene.x86 and scene.memory(scene.pc - 2, 2) in SYSCALL_INSTRUCTIONS:
        return None  # it came back from the kernel: raise(), kill(), a wait
    if scene.memory(scene.pc - 4, 4) == _CALLS.get(scene.arch.name):
        return None
    if number == SIGILL:
        trap = scene.x86 and scene.memory(scene.pc, 2) == _UD2
        return SigInfo(SIGILL, ILL_ILLOPN, 0, scene.pc) if trap else None
    instruction = scene.decode(scene.registers)
    if instruction is None:
        return None
    if number == SIGFPE:
        divides = instruction.mnemonic in ("div", "idiv") and instruction.operand == 0
        return SigInfo(SIGFPE, FPE_INTDIV, 0, scene.pc) if divides else None
    if number == SIGSEGV:
        return _bad_access(scene, instruction)
    return None


def _bad_access(scene: Scene, instruction: Decoded) -> SigInfo | None:
    for access in instruction.accesses:
        if not scene.places.is_canonical(access.address):
            return SigInfo(SIGSEGV, SI_KERNEL)
        place = scene.places.find(access.address)
        if place is None and access.registers == (scene.arch.sp,):
            continue  # the main stack grows when it is touched there
        if place is None:
            return SigInfo(SIGSEGV, SEGV_MAPERR, 0, access.address)
        known = not place.perms.startswith(b"?")
        writes = "write" in access.kind
        if known and ((writes and not place.writable) or not (writes or place.readable)):
            return SigInfo(SIGSEGV, SEGV_ACCERR, 0, access.address)
    return None
