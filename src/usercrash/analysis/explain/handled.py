"""Signals whose handlers were running: read from the frames that the kernel built for them.

arch/x86/include/asm/sigframe.h: struct rt_sigframe { pretcode; struct ucontext uc;
struct siginfo info; }; <asm/ucontext.h>, <asm/sigcontext.h>. The stack pointer of the
trampoline's frame stands behind pretcode, at uc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from ...elf.arch import Arch
from ..facts.signals import decode_siginfo
from ..unwinding.unwind import RawFrame
from .scene import Handled

MAX_HANDLED = 8
# uc_flags 8, uc_link 8, uc_stack 24; then sigcontext: 23 words, fpstate, reserved; then the
# signal mask, 8 bytes (the kernel's, not the C library's 128).
_CONTEXT = 40
_SIGINFO = 40 + 256 + 8
_REGISTERS = ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx",
              "rdx", "rax", "rcx", "rsp", "rip", "eflags")  # fmt: skip
_WORDS = Struct("<18Q")


def handled_signals(
    frames: Sequence[RawFrame],
    indexes: Sequence[int],
    arch: Arch,
    registers: dict[str, int],
    read: Callable[[int, int], bytes],
) -> list[Handled]:
    """The handled signals on a stack, innermost first. `indexes` are the frames' report indexes;
    `registers` supply what a signal does not save (segment bases)."""
    result: list[Handled] = []
    if arch.name != "x86_64":
        return result
    for at, frame in enumerate(frames):
        if not frame.signal_frame or at + 1 >= len(frames):
            continue
        info = decode_siginfo(read(frame.sp + _SIGINFO, 128))
        saved = read(frame.sp + _CONTEXT, _WORDS.size)
        if info is None or len(saved) < _WORDS.size:
            continue
        values = dict(zip(_REGISTERS, _WORDS.unpack(saved), strict=True))
        if values["rip"] != frames[at + 1].pc:
            continue  # not the layout that we know: say nothing
        result.append(Handled(info, registers | values, indexes[at + 1]))
        if len(result) == MAX_HANDLED:
            break
    return result
