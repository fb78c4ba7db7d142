"""i386 code: Intel SDM volume 2, System V i386 psABI; what the kernel puts on the stack for a
handler: struct sigframe_ia32 and rt_sigframe_ia32 (arch/x86/include/asm/sigframe.h), struct
sigcontext_32 (<asm/sigcontext.h>)."""

from __future__ import annotations

from .machine_code import CodeFacts, Prologue, SignalFrame
from .x86_64_code import ff_length


class _I386(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        if len(before) >= 5 and before[-5] == 0xE8:
            return address + int.from_bytes(before[-4:], "little", signed=True) & (1 << 32) - 1
        for length in (2, 3, 4, 6, 7):  # FF /2, as on x86-64
            if len(before) >= length and before[-length] == 0xFF:
                modrm = before[-length + 1]
                if modrm & 0x38 == 0x10 and ff_length(before[-length:]) == length:
                    return 0
        return None

    def prologue(self, before: bytes, at: bytes) -> Prologue | None:
        if at.startswith(b"\xf3\x0f\x1e\xfb"):  # endbr32: an entry
            return 0, None
        if at.startswith((b"\x55\x89\xe5", b"\x55\x8b\xec")):  # push ebp; mov ebp, esp
            return 0, None
        if before.endswith(b"\x55") and at.startswith((b"\x89\xe5", b"\x8b\xec")):
            return 4, 0
        if at[:1] == b"\xc3" or at.startswith((b"\xf2\xc3", b"\xf3\xc3")):  # ret
            return 0, None
        if at.startswith(b"\x5d\xc3"):  # pop ebp; ret
            return 4, 0
        return None


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

FACTS = {
    "i386": _I386(
        signal_frames=_SIGNAL_FRAMES,
        frame_makers=tuple(
            entry + push
            for entry in (b"", b"\xf3\x0f\x1e\xfb")  # endbr32
            for push in (b"\x55\x89\xe5", b"\x55\x8b\xec")  # push ebp; mov ebp, esp
        ),
    )
}
