"""i386 code: Intel SDM volume 2, System V i386 psABI; what the kernel puts on the stack for a
handler: struct sigframe_ia32 and rt_sigframe_ia32 (arch/x86/include/asm/sigframe.h), struct
sigcontext_32 (<asm/sigcontext.h>)."""

from __future__ import annotations

from .machine_code import SignalFrame
from .x86_code import X86


class _I386(X86):
    __slots__ = ()
    word = 4
    endbr = b"\xf3\x0f\x1e\xfb"
    moves = (b"\x89\xe5", b"\x8b\xec")  # mov ebp, esp
    places = (0x05, 0x83)  # at an address; at a distance from ebx
    entry = 8  # bytes of an Elf32_Rel


# Distances in struct sigcontext_32; four segment registers stand before these.
_SIGCONTEXT = (
    ("edi", 16), ("esi", 20), ("ebp", 24), ("esp", 28), ("ebx", 32), ("edx", 36), ("ecx", 40),
    ("eax", 44), ("eip", 56),
)  # fmt: skip


def _at(start: int) -> tuple[tuple[str, int], ...]:
    return tuple((name, start + distance) for name, distance in _SIGCONTEXT)


# The handler's return has taken the first word, its own address, off the frame.
_SIGNAL_FRAMES = (
    SignalFrame(
        (b"\x58\xb8\x77\x00\x00\x00\xcd\x80",),  # pop eax; mov eax, 119 (sigreturn); int 0x80
        _at(4),
        number=0,
    ),
    SignalFrame(
        (b"\xb8\xad\x00\x00\x00\xcd\x80",),  # mov eax, 173 (rt_sigreturn); int 0x80
        _at(160),  # behind three words, siginfo, and 20 bytes of struct ucontext
        siginfo=12,
    ),
)

FACTS = {"i386": _I386(signal_frames=_SIGNAL_FRAMES, frame_makers=_I386.makers())}
